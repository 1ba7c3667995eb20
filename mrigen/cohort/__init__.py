"""A synthetic data set in bulk: its plan, the shards that fill it, and the files that close it."""

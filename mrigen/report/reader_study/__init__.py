"""The pages of a reader study: the one that readers work in, and that of the result."""

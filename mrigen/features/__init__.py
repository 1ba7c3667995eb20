"""Networks that turn images into features, ours and published ones, and where their weights come from."""

"""The page of usefulness."""

"""The page of data."""

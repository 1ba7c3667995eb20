"""The page of an external test."""

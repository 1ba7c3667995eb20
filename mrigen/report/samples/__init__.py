"""The page of samples."""

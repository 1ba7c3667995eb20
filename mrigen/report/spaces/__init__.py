"""The page of the study of spaces."""

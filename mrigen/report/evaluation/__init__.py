"""The page of evaluation."""

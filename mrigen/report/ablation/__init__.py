"""The page of ablation."""

"""The model folder: what a trained model is on disk, and its card."""

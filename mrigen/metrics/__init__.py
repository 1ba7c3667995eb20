"""Figures from arrays: distances of feature sets, likeness and quality of images, accuracies, and their intervals."""

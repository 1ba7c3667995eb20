"""Copies of training images among generated ones: descriptors, nearest neighbours, and the decision."""

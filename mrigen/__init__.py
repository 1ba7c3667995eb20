"""Conditional brain MRI by latent diffusion: the library. Nothing in here imports Ray."""

__version__ = "0.1.0"

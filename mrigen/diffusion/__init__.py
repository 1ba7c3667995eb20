"""The diffusion process: what is learned, and how a sample is drawn from it."""

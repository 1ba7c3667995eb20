"""Latents against pixels: the same denoiser on the same data for the same time, and for the same number of steps.

Each space has a run of its own, which borrows the data. The time of a space pays for all of its training: autoencoder,
encoding and denoiser. How many steps that allows is told by a few steps that are timed beforehand, one space after the
other in one process; the number that the slowest space can take is what all are compared at by steps. As learning
rates fall towards the end of a training, each of the two comparisons has trainings of its own.
"""

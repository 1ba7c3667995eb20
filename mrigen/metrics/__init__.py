"""How good images are: fidelity of the autoencoder, distance between distributions, diversity.

`plan` chooses what is compared, `work` computes it shard by shard, `summary` adds it up; the formulas
are in `image_quality` and `distribution`, the feature network is in `features`.
"""

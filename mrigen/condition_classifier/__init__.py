"""The classifier of pathology and modality, trained on real images: network, training, storage, and what it says of
generated images (condition fidelity)."""

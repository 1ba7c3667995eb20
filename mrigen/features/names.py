"""The names of the feature extractors that need no weights of the user's."""

EFFICIENTNET, MRI, AUTOENCODER = "efficientnet-lite0", "mri", "autoencoder"

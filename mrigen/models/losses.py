"""The training losses, as pure functions."""

from __future__ import annotations

import torch
from torch import Tensor

from mrigen.config import AutoencoderConfig
from mrigen.models.codec import Posterior


def autoencoder_loss(
    reconstruction: Tensor, images: Tensor, posterior: Posterior, config: AutoencoderConfig
) -> dict[str, Tensor]:
    """Terms of the autoencoder's loss for images (B, 1, *spatial), and their weighted sum as `loss`.

    Mean absolute error, mean absolute error of the finite differences along each axis (Mathieu et al. 2016,
    eq. 6), and the posterior's divergence (Kingma and Welling 2014, appendix B).
    """
    terms = {
        "l1": (reconstruction - images).abs().mean(),
        "gradient": gradient_error(reconstruction, images),
        "kl": posterior.kl(),
    }
    loss = terms["l1"] + config.gradient_weight * terms["gradient"] + config.kl_weight * terms["kl"]
    return {"loss": loss, **terms}


def gradient_error(first: Tensor, second: Tensor) -> Tensor:
    """Mean absolute difference of the finite differences along each spatial axis of (B, C, *spatial), a scalar."""
    difference = first - second
    axes = range(2, difference.dim())
    return torch.stack([difference.diff(dim=axis).abs().mean() for axis in axes]).mean()

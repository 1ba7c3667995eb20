"""The losses of the autoencoder, as functions of images (B, 1, *spatial) in [-1, 1], and what is trained by them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.func import functional_call

from mrigen.config import AutoencoderConfig
from mrigen.models.autoencoder import Autoencoder, Decoded
from mrigen.models.codec import Posterior
from mrigen.models.discriminator import FeatureDiscriminator
from mrigen.models.efficientnet_lite import lite_features
from mrigen.models.texture import texture_loss

MAX_ADAPTIVE_WEIGHT = 1e4
LEAST_DEVIATION = 0.1
"""Of a channel's features, in deviations of all channels' of the level."""


class AutoencoderObjective(nn.Module):
    """The autoencoder, with `adversarial_weight` a discriminator beside it, and the loss of both in one.

    Neither sees the other's gradient: the discriminator judges reconstructions that are cut off from the autoencoder,
    and the autoencoder is judged by weights that are cut off from the discriminator. So one optimiser serves both.
    """

    def __init__(self, autoencoder: Autoencoder, settings: AutoencoderConfig) -> None:
        super().__init__()
        self.autoencoder, self._settings = autoencoder, settings
        self.discriminator = FeatureDiscriminator() if settings.adversarial_weight else None
        self._features = lite_features() if settings.perceptual_weight or settings.adversarial_weight else None

    def forward(
        self,
        images: Tensor,
        noise: Tensor,
        levels: Tensor,
        texture_noise: Tensor,
        lesions: Tensor | None,
        step: int,
    ) -> dict[str, Tensor]:
        """The terms at `step`, and their weighted sum as `loss`; `lesions` (B, 1, *spatial) are 1 within and 0 without.

        `noise` of the latents' and `texture_noise` of the images' shape are standard normal; `levels` are those of
        `Autoencoder.forward`.
        """
        decoded, posterior = self.autoencoder(images, noise, levels)
        terms = autoencoder_loss(decoded, images, posterior, self._settings, lesions)
        if self._features is None:
            return terms
        with torch.no_grad():
            wanted = self._features(images)
        drawn = self._features(decoded.textured(texture_noise))
        terms["perceptual"] = perceptual_distance(drawn, wanted)
        terms["loss"] = terms["loss"] + self._settings.perceptual_weight * terms["perceptual"]
        if self.discriminator is None:
            return terms
        frozen = {name: weights.detach() for name, weights in self.discriminator.named_parameters()}
        adversarial = -functional_call(self.discriminator, frozen, (drawn,)).mean()
        weight = adaptive_weight(terms["loss"], adversarial, decoded.mean)
        share = self._settings.adversarial_share(step)
        real, fake = self.discriminator(wanted), self.discriminator([level.detach() for level in drawn])
        told = hinge_loss(real, fake)
        loss = terms["loss"] + self._settings.adversarial_weight * share * weight * adversarial + told
        return {**terms, "loss": loss, "adversarial": adversarial, "discriminator": told}


def autoencoder_loss(
    decoded: Decoded,
    images: Tensor,
    posterior: Posterior,
    config: AutoencoderConfig,
    lesions: Tensor | None = None,
) -> dict[str, Tensor]:
    """Terms of the loss without a discriminator, and their weighted sum as `loss`.

    Of the mean image: mean absolute error, in which a pixel of a lesion counts 1 + `lesion_weight` times, and that of
    finite differences along each axis (Mathieu et al. 2016, eq. 6). That of the noise, where the network has it. The
    posterior's divergence (Kingma and Welling 2014, appendix B).
    """
    error = (decoded.mean - images).abs()
    if lesions is not None and config.lesion_weight:
        error = error * (1.0 + config.lesion_weight * lesions)
    terms = {
        "l1": error.mean(),
        "gradient": gradient_error(decoded.mean, images),
        "kl": posterior.kl(),
    }
    loss = terms["l1"] + config.gradient_weight * terms["gradient"] + config.kl_weight * terms["kl"]
    if decoded.logvar is not None:
        terms["texture"] = texture_loss(decoded.logvar, decoded.mean.detach().clamp(-1.0, 1.0), images)
        loss = loss + terms["texture"]
    return {"loss": loss, **terms}


def perceptual_distance(features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of features (B, C, H, W) of several levels from those wanted, a scalar, in deviations of
    each channel in the image wanted (after Johnson et al. 2016)."""
    errors = []
    for got, goal in zip(features, wanted, strict=True):
        # Some channels tell hardly anything of an image: they count less than the others.
        scale = goal.std((2, 3), keepdim=True) + LEAST_DEVIATION * goal.std((1, 2, 3), keepdim=True)
        errors.append(((got - goal) / scale).abs().mean())
    return torch.stack(errors).mean()


def gradient_error(first: Tensor, second: Tensor) -> Tensor:
    """Mean absolute difference of the finite differences along each spatial axis of (B, C, *spatial), a scalar."""
    difference = first - second
    axes = range(2, difference.dim())
    return torch.stack([difference.diff(dim=axis).abs().mean() for axis in axes]).mean()


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss on its scores, a scalar: 0 where each is on its side of 1 and -1 (Lim and Ye 2017)."""
    return functional.relu(1.0 - real).mean() + functional.relu(1.0 + fake).mean()


def adaptive_weight(reconstruction_loss: Tensor, adversarial_loss: Tensor, output: Tensor) -> Tensor:
    """The weight that gives both losses gradients of one length at `output`, a scalar without gradient.

    Esser et al. 2021, eq. 7, but at the reconstruction instead of the last layer's weights, which costs no pass through
    the decoder.
    """
    wanted, given = (
        torch.autograd.grad(loss, output, retain_graph=True)[0].norm()
        for loss in (reconstruction_loss, adversarial_loss)
    )
    weight: Tensor = (wanted / (given + 1e-8)).clamp(max=MAX_ADAPTIVE_WEIGHT).detach()
    return weight

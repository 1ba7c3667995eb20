"""Requests to volumes: what `mrigen generate`, `mrigen serve` and Python users all call.

A sample is a function of (model, cell, source, seed, sampler settings, slice), nothing else: on one kind of hardware
no neighbour, batch, worker or retry changes a bit of it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrigen.config import Config
from mrigen.diffusion.sampling import TEXTURE_STEP, guidance_acts, guided, sample_noise, solve
from mrigen.errors import InputError
from mrigen.labels import Cell
from mrigen.model_folder.facts import local_model
from mrigen.model_folder.files import Model, load_model
from mrigen.models.conditioning import Conditions
from mrigen.models.denoiser import Denoiser
from mrigen.preprocess import slice_affine
from mrigen.process.threads import one_thread
from mrigen.samples import Sample as Sample  # for users, who find all here
from mrigen.samples import SampleRequest as SampleRequest
from mrigen.samples import seed_fraction
from mrigen.storage import Location

_TERMS: dict[str, Callable[[Conditions], Conditions]] = {
    "guidance_scale": lambda conditions: conditions,
    "pathology_scale": lambda conditions: conditions.without("modality"),
    "modality_scale": lambda conditions: conditions.without("pathology"),
}
"""What the denoiser is asked for each term of guidance."""


class Pipeline:
    """A loaded model that answers requests."""

    def __init__(self, model: Model, device: str = "cpu") -> None:
        self.model = model
        self.device = torch.device(device)
        self._codec = model.codec.to(self.device)
        self._denoiser = model.denoiser.to(self.device)
        self._early = model.early.to(self.device) if model.early else None
        self._schedule = model.schedule

    @classmethod
    def load(cls, folder: str | Path | Location | None = None, device: str = "cpu") -> Self:
        """Load a model folder, or the embedded model. Raises InputError if it is missing or broken."""
        with local_model(folder) as local:
            return cls(load_model(local), device)

    @property
    def config(self) -> Config:
        """The what-settings that the model was trained with; its sampler settings are the defaults."""
        return self.model.config

    @property
    def model_sha256(self) -> str:
        """Hash that names the model."""
        return self.model.sha256

    @property
    def training_counts(self) -> dict[Cell, int]:
        """Number of training images of every cell."""
        return self.model.training_counts

    def is_trained(self, cell: Cell) -> bool:
        """Whether the model saw the cell in training."""
        return self.model.is_trained(cell)

    @functools.cached_property
    def _in_bfloat16(self) -> tuple[Denoiser, Denoiser | None]:
        return self._denoiser.in_bfloat16(), self._early.in_bfloat16() if self._early else None

    def slice_mm_of(self, request: SampleRequest) -> float:
        """Height of the request's slice in mm: the one given, or one drawn by the seed."""
        if request.slice_mm is not None:
            return request.slice_mm
        quantiles = self.model.slice_mm_quantiles
        return float(np.interp(seed_fraction(request.seed), np.linspace(0, 1, len(quantiles)), quantiles))

    def sample(self, requests: Sequence[SampleRequest], before_step: Callable[[], None] = lambda: None) -> list[Sample]:
        """Answer requests, in their order. Those of one `SamplerConfig.batch_key` share batches.

        `before_step` is called before each step of each batch; what it raises ends the work. Raises InputError if
        guidance by an early state of the denoiser is asked for, and the model keeps none, or a source that the model
        does not tell apart.
        """
        for request in requests:
            self.model.require_source(request.source)
        if self._early is None and any(request.sampler.leads_from_early for request in requests):
            raise InputError("sampler.guide early: the model keeps no early state, as denoiser.early_share has it do")
        images: dict[int, NDArray[np.float32]] = {}
        groups: dict[Hashable, list[int]] = {}
        for position, request in enumerate(requests):
            groups.setdefault(request.sampler.batch_key, []).append(position)
        # The number of threads decides the last bits on a CPU.
        with one_thread() if self.device.type == "cpu" else contextlib.nullcontext():
            for positions in groups.values():
                size = requests[positions[0]].sampler.compute_batch
                for start in range(0, len(positions), size):
                    batch = positions[start : start + size]
                    padded = [requests[position] for position in batch + batch[-1:] * (size - len(batch))]
                    images.update(zip(batch, self._images(padded, before_step), strict=False))
        return [
            Sample(
                request=request,
                image=images[position],
                slice_mm=self.slice_mm_of(request),
                trained_cell=self.is_trained(request.cell),
                of_stripped_head=self.model.of_stripped_heads,
                model_sha256=self.model_sha256,
                affine=slice_affine(self.config.data, self.slice_mm_of(request)),
            )
            for position, request in enumerate(requests)
        ]

    @torch.no_grad()
    def _images(self, requests: Sequence[SampleRequest], before_step: Callable[[], None]) -> NDArray[np.float32]:
        """One full compute batch -> images (B, *spatial)."""
        sampler, seeds = requests[0].sampler, [request.seed for request in requests]
        heights = [self.slice_mm_of(request) for request in requests]
        others = {"source": [request.source for request in requests]} if self.model.sources else {}
        vocabulary = self._denoiser.conditioner.vocabulary
        conditions = Conditions.of([request.cell for request in requests], heights, vocabulary, **others).to(
            self.device
        )
        terms = sampler.guidance_terms
        alone = [*(_TERMS[name](conditions) for name in terms), conditions.without_cell()]
        asked = functools.reduce(Conditions.joined, alone)
        scales = [
            torch.tensor([getattr(request.sampler, name) for request in requests], device=self.device) for name in terms
        ]
        denoiser, early = self._in_bfloat16 if sampler.precision == "bf16" else (self._denoiser, self._early)

        def ask(network: Denoiser, latents: Tensor, timestep: int, conditions: Conditions) -> Tensor:
            predicted: Tensor = network(latents, torch.full((len(latents),), timestep, device=self.device), conditions)
            return predicted.float()

        def predict(latents: Tensor, timestep: int) -> Tensor:
            if not guidance_acts(sampler, timestep, self._schedule.num_timesteps):
                return ask(denoiser, latents, timestep, conditions)
            if sampler.leads_from_early:
                assert early is not None
                weaker = ask(early, latents, timestep, conditions.without("pathology"))
                return guided(weaker, [(scales[0], ask(denoiser, latents, timestep, conditions))])
            repeated = torch.cat([latents] * (len(terms) + 1))
            *predictions, null = ask(denoiser, repeated, timestep, asked).chunk(len(terms) + 1)
            return guided(null, zip(scales, predictions, strict=True))

        def noise(step: int) -> Tensor:
            return sample_noise(seeds, self.config.latent_shape, step).to(self.device)

        latents = solve(
            sampler.solver,
            predict,
            noise,
            self._schedule,
            sampler.num_steps,
            self.config.diffusion.prediction,
            before_step,
        )
        texture_noise = sample_noise(seeds, (1, *self.config.data.image_shape), TEXTURE_STEP).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=sampler.precision == "bf16"):
            images = self._codec.decode(self.model.statistics.restored(latents), texture_noise)
        return images[:, 0].clamp(-1.0, 1.0).float().cpu().numpy()

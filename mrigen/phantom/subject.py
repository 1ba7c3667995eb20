"""One phantom subject from a seed and an index."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from mrigen.labels import Modality, Pathology
from mrigen.phantom.anatomy import build_anatomy, midline_shift_mm
from mrigen.phantom.draw import draw_parameters
from mrigen.phantom.fields import FloatArray, Grid, smooth_noise, working_grid
from mrigen.phantom.parameters import ScanParameters, SubjectParameters
from mrigen.phantom.segmentation import FIRST_LESION, measure, segment
from mrigen.phantom.signal import Tissue, add_rician_noise, at_resolution, mix_signal, tissue_signal
from mrigen.phantom.sites import REFERENCE, Scanner, Site
from mrigen.phantom.template import load_template
from mrigen.phantom.tumour import add_tumour
from mrigen.phantom.white_matter import add_hyperintensity, add_plaques

_BIAS_KNOT_MM = 90.0


@dataclass(frozen=True)
class PhantomSubject:
    """One simulated person in all modalities. Arrays are (X, Y, Z) in RAS+."""

    subject: str
    pathology: Pathology
    age: float
    """Years."""
    images: dict[Modality, np.ndarray]
    """Float32, positive in the brain and 0 outside, arbitrary units up to about 1000."""
    segmentation: np.ndarray
    """Uint8: the labels of `segmentation.LABELS`."""
    brain: np.ndarray
    """Uint8."""
    affine: np.ndarray
    """Float64 (4, 4), voxel to mm."""
    parameters: dict[str, object]
    """All that was drawn, fit for JSON."""
    measured: dict[str, float]
    """Volumes (ml), lesion_count and midline_shift_mm of what was made."""

    @property
    def lesions(self) -> NDArray[np.bool_]:
        """Voxels that are lesion by half or more."""
        return np.asarray(self.segmentation >= FIRST_LESION)


def _plain(value: object) -> object:
    """Dataclasses, mappings and enumerations as what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key.name.lower() if isinstance(key, Tissue) else str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def _scan(
    fractions: FloatArray,
    texture: FloatArray,
    brain: NDArray[np.bool_],
    grid: Grid,
    parameters: SubjectParameters,
    scanner: Scanner,
    modality: Modality,
) -> FloatArray:
    """The image of one modality, float32 (X, Y, Z)."""
    scan: ScanParameters = parameters.scans[modality]
    gadolinium = modality is Modality.T1CE
    signal = mix_signal(fractions, parameters.relaxation, scan.protocol, gadolinium)
    bias = np.exp(np.float32(scan.bias) * smooth_noise(scan.bias_seed, grid, _BIAS_KNOT_MM)[0][brain])
    white = abs(tissue_signal(parameters.relaxation[Tissue.WHITE], scan.protocol, gadolinium))
    image = np.zeros(grid.shape, dtype=np.float32)
    clean = np.float32(scan.gain) * signal * bias * texture
    seen = at_resolution(clean, brain, grid, scanner.resolution_mm)
    image[brain] = add_rician_noise(seen, scan.gain * white / scan.snr, scan.noise_seed)
    return image


def make_subject(seed: int, index: int, spacing_mm: float = 2.4, site: Site = REFERENCE) -> PhantomSubject:
    """Subject `index` of cohort `seed` at a site, with isotropic voxels of `spacing_mm`, in every modality.

    A pure function: the same arguments give the same bits in any process. One anatomy renders in all modalities, and
    is the same in any scanner.

    Raises ValueError if seed or index is negative, or the spacing is not above 0 and up to 20 mm.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed {seed} and index {index} must both be 0 or more")
    grid = working_grid(spacing_mm)
    pathology = site.pathology_of(index)
    # A last 0 changes no stream: the reference has the subjects that it had before there were sites.
    rng = np.random.default_rng(np.random.SeedSequence([seed, index, site.number]))
    parameters = draw_parameters(rng, pathology, site)
    template = load_template(grid.spacing_mm)
    anatomy = build_anatomy(parameters.anatomy, parameters.vessels, parameters.tumour, template, grid)
    fractions = anatomy.fractions
    if parameters.tumour is not None:
        fractions = add_tumour(anatomy, parameters.tumour, template.depth.at(anatomy.points_mm), grid)
    if parameters.plaques:
        fractions = add_plaques(anatomy, parameters.plaques, template, grid, parameters.texture_seed)
    if parameters.hyperintensity is not None:
        fractions = add_hyperintensity(anatomy, fractions, parameters.hyperintensity, template, grid)
    texture = anatomy.inside * (1.0 + 0.015 * smooth_noise(parameters.texture_seed + 2, grid, 8.0)[0][anatomy.brain])

    segmentation = np.zeros(grid.shape, dtype=np.uint8)
    segmentation[anatomy.brain] = segment(anatomy, fractions)
    drawn = _plain(parameters)
    assert isinstance(drawn, dict)
    at = {"site": _plain(site)} if site.number else {}
    return PhantomSubject(
        subject=f"{index:04d}",
        pathology=pathology,
        age=parameters.age,
        images={m: _scan(fractions, texture, anatomy.brain, grid, parameters, site.scanner, m) for m in Modality},
        segmentation=segmentation,
        brain=anatomy.brain.astype(np.uint8),
        affine=grid.affine,
        parameters={"seed": seed, "index": index, "spacing_mm": grid.spacing_mm, **at, **drawn},
        measured={
            **measure(segmentation, grid.spacing_mm),
            "midline_shift_mm": round(midline_shift_mm(parameters.tumour), 1),
        },
    )

"""The average brain in MNI space that scans are compared with.

The ICBM 152 non-linear symmetric 2009a templates (Fonov et al., NeuroImage 54:313, 2011; MNI licence: use, copy,
modify and distribute freely) as packed in the nilearn wheel. Nothing is downloaded.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.preprocess.foreground import Foreground
from mrigen.preprocess.intensity import correlation_ratio
from mrigen.preprocess.masks import on_grid
from mrigen.volume import Volume

BRAIN_CENTRE_MM = (0.0, -17.5, 5.0)
"""Centre of the bounding box of the template's brain, RAS+."""


@dataclass(frozen=True, eq=False)
class BrainTemplate:
    """`t1`: the average T1w brain, from 0 to 1, on a grid in MNI space (RAS+); `brain` (X, Y, Z): which of its voxels
    are brain and the fluid in its grooves."""

    t1: Volume
    brain: NDArray[np.bool_]


def read_template(name: str) -> Volume:
    """The template `t1`, `gm` or `wm` with values from 0 to 1, on its 1 mm grid (197, 233, 189) in MNI space.

    Raises FileNotFoundError if the installed nilearn does not carry the templates.
    """
    # Found through the wheel's record: importing nilearn would take a second and half of scikit-learn.
    file = f"nilearn/datasets/data/mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    packed = Path(str(metadata.distribution("nilearn").locate_file(file)))
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(packed.read_bytes()))
    values = np.asarray(image.dataobj, np.float32) / np.float32(255.0)
    return Volume(values, np.asarray(image.affine, np.float64))


@lru_cache(maxsize=3)
def load_template(spacing_mm: int) -> BrainTemplate:
    """The template with every `spacing_mm`-th voxel of its 1 mm grid, smoothed for that."""
    t1 = read_template("t1")
    stride = (slice(None, None, spacing_mm),) * 3
    brain = np.ascontiguousarray(ndimage.binary_fill_holes(t1.array > 0)[stride])
    if spacing_mm > 1:
        affine = t1.affine.copy()
        affine[:3, :3] *= spacing_mm
        smooth = ndimage.gaussian_filter(t1.array, 0.42 * spacing_mm)
        t1 = Volume(np.ascontiguousarray(smooth[stride]), affine)
    return BrainTemplate(t1, brain)


def template_overlap(volume: Volume, foreground: Foreground) -> float:
    """The share of the template's brain that a whole head, taken to be in MNI space, covers."""
    template = load_template(2)
    covered = on_grid(foreground.mask.astype(np.uint8), volume.affine, template.t1) > 0
    return float((covered & template.brain).sum() / template.brain.sum())


@lru_cache(maxsize=1)
def _template_levels() -> tuple[NDArray[np.bool_], NDArray[np.int_]]:
    """The brain of the template of 2 mm with 10 mm around it, and which of 32 levels each voxel there has."""
    template = load_template(2)
    around = ndimage.binary_dilation(template.brain, iterations=5)
    return around, np.minimum((template.t1.array[around] * 32).astype(int), 31)


def template_likeness(volume: Volume) -> float:
    """How well the template's intensities tell the volume's, from 0 to 1, whatever the modality.

    The correlation ratio over the template's brain and 10 mm around it: the share of the
    volume's variance that lies between 32 levels of the template.
    """
    around, levels = _template_levels()
    values = on_grid(volume.array, volume.affine, load_template(2).t1, order=1)[around].astype(np.float64)
    return correlation_ratio(levels, values)

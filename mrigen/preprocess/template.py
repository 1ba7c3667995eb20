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
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.preprocess.foreground import Foreground, voxel_litres
from mrigen.volume import Volume

BRAIN_CENTRE_MM = (0.0, -17.5, 5.0)
"""Centre of the bounding box of the template's brain, RAS+."""


@dataclass(frozen=True, eq=False)
class BrainTemplate:
    """`t1`: the average T1w brain, from 0 to 1, on a grid in MNI space (RAS+); `brain` (X, Y, Z): which of its voxels
    are brain and the fluid in its grooves."""

    t1: Volume
    brain: NDArray[np.bool_]


def _read(name: str) -> Volume:
    # Found through the wheel's record: importing nilearn would take a second and half of scikit-learn.
    file = f"nilearn/datasets/data/mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    packed = Path(str(metadata.distribution("nilearn").locate_file(file)))
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(packed.read_bytes()))
    values = np.asarray(image.dataobj, np.float32) / np.float32(255.0)
    return Volume(values, np.asarray(image.affine, np.float64))


@lru_cache(maxsize=3)
def load_template(spacing_mm: int) -> BrainTemplate:
    """The template with every `spacing_mm`-th voxel of its 1 mm grid (197, 233, 189), smoothed for that.

    Raises FileNotFoundError if the installed nilearn does not carry the templates.
    """
    t1 = _read("t1")
    stride = (slice(None, None, spacing_mm),) * 3
    brain = np.ascontiguousarray(ndimage.binary_fill_holes(t1.array > 0)[stride])
    return BrainTemplate(_thin(t1, spacing_mm), brain)


def _thin(volume: Volume, factor: int) -> Volume:
    """Every `factor`-th voxel along each axis, after a filter of that width."""
    if factor == 1:
        return volume
    smooth = ndimage.gaussian_filter(volume.array, 0.42 * factor)
    affine = volume.affine.copy()
    affine[:3, :3] *= factor
    return Volume(np.ascontiguousarray(smooth[::factor, ::factor, ::factor]), affine)


def on_template(volume: Volume, spacing_mm: int, values: NDArray[Any], *, order: int = 1) -> NDArray[Any]:
    """Values on a volume's grid, sampled on the template's; 0 beyond the volume."""
    affine = np.linalg.inv(volume.affine) @ load_template(spacing_mm).t1.affine
    shape = load_template(spacing_mm).t1.array.shape
    sampled: NDArray[Any] = ndimage.affine_transform(
        values, affine[:3, :3], affine[:3, 3], shape, order=order, mode="constant", cval=0
    )
    return sampled


def template_overlap(volume: Volume, foreground: Foreground) -> float:
    """How much of a whole head's volume, taken to be in MNI space, the template's brain finds: the share of the brain
    that the head covers; of a brain alone the share that lies within the template's, for brains may be small."""
    template = load_template(2)
    covered = on_template(volume, 2, foreground.mask.astype(np.uint8), order=0) > 0
    both = float((covered & template.brain).sum())
    if not foreground.stripped:
        return both / float(template.brain.sum())
    ratio = voxel_litres(template.t1.affine) / voxel_litres(volume.affine)
    return both * ratio / max(1.0, float(foreground.mask.sum()))


def template_likeness(volume: Volume) -> float:
    """How well the template's intensities tell the volume's, from 0 to 1, whatever the modality.

    The correlation ratio (Roche et al., MICCAI 1998) over the template's brain and 10 mm around it: the share of the
    volume's variance that lies between 32 levels of the template.
    """
    template = load_template(2)
    around = ndimage.binary_dilation(template.brain, iterations=5)
    values = on_template(volume, 2, volume.array)[around].astype(np.float64)
    levels = np.minimum((template.t1.array[around] * 32).astype(int), 31)
    counts = np.bincount(levels, minlength=32)
    means = np.bincount(levels, values, minlength=32) / np.maximum(counts, 1)
    total = values.var()
    return float((counts * (means - values.mean()) ** 2).sum() / (len(values) * total)) if total > 0 else 0.0

"""The truth about a subject: one label a voxel, and what is measured on the labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.phantom.anatomy import HIPPOCAMPUS_MM, Anatomy, hippocampus_distance
from mrigen.phantom.fields import FloatArray
from mrigen.phantom.signal import Tissue

LABELS: Mapping[str, int] = {
    "fluid": 1,
    "ventricle": 2,
    "grey": 3,
    "white": 4,
    "hippocampus": 5,
    "blood": 6,
    "choroid": 7,
    "necrosis": 11,
    "oedema": 12,
    "rim": 13,
    "plaque": 14,
    "active_plaque": 15,
    "hyperintensity": 16,
    "black_hole": 17,
    "tumour": 18,
}
"""Label of each tissue. 0 lies outside the brain, 11 and above are lesions."""
FIRST_LESION = 11

MEASURES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "brain_ml": (
        "Brain tissue with its lesions, without fluid, vessels and choroid plexus",
        ("grey", "white", "hippocampus", *(name for name, label in LABELS.items() if label >= FIRST_LESION)),
    ),
    "grey_ml": ("Grey matter, cortical and deep, with the hippocampi", ("grey", "hippocampus")),
    "white_ml": ("White matter outside lesions", ("white",)),
    "csf_ml": ("Cerebrospinal fluid with the ventricles", ("fluid", "ventricle", "choroid")),
    "ventricle_ml": ("Lateral and third ventricles with their choroid plexus", ("ventricle", "choroid")),
    "hippocampus_ml": ("Both hippocampi", ("hippocampus",)),
    "lesion_ml": (
        "Any lesion: the volume of the lesion mask",
        tuple(name for name, label in LABELS.items() if label >= FIRST_LESION),
    ),
    "necrosis_ml": ("Necrotic core of a glioblastoma", ("necrosis",)),
    "enhancing_ml": ("Enhancing rim of a glioblastoma", ("rim",)),
    "non_enhancing_ml": ("Solid part of a glioblastoma that does not enhance", ("tumour",)),
    "oedema_ml": ("Oedema around a glioblastoma", ("oedema",)),
    "plaque_ml": ("Plaques of multiple sclerosis, all kinds", ("plaque", "active_plaque", "black_hole")),
    "active_plaque_ml": ("Enhancing plaques of multiple sclerosis", ("active_plaque",)),
    "black_hole_ml": ("Plaques of multiple sclerosis that are dark in T1w", ("black_hole",)),
    "wmh_ml": ("White-matter hyperintensities of age", ("hyperintensity",)),
}
"""Volume -> what it is, and the labels whose voxels it counts."""

_LESIONS = [tissue for tissue in Tissue if LABELS[tissue.name.lower()] >= FIRST_LESION]
_HEALTHY = [tissue for tissue in Tissue if LABELS[tissue.name.lower()] < FIRST_LESION]


def segment(anatomy: Anatomy, fractions: FloatArray) -> NDArray[np.uint8]:
    """The label of each voxel, uint8 (N,): a lesion where lesions fill half or more, the largest tissue elsewhere."""
    codes = np.array([LABELS[tissue.name.lower()] for tissue in Tissue], dtype=np.uint8)
    lesions, healthy = fractions[_LESIONS], fractions[_HEALTHY]
    labels = codes[np.asarray(_HEALTHY)[healthy.argmax(axis=0)]]
    solid = (labels == LABELS["grey"]) | (labels == LABELS["white"])
    labels[solid & (hippocampus_distance(anatomy.tissue_mm)[0] < HIPPOCAMPUS_MM)] = LABELS["hippocampus"]
    labels[(labels == LABELS["fluid"]) & (anatomy.ventricle_mm < 2.0)] = LABELS["ventricle"]
    lesion = codes[np.asarray(_LESIONS)[lesions.argmax(axis=0)]]
    return np.asarray(np.where(lesions.sum(axis=0) >= 0.5, lesion, labels), dtype=np.uint8)


def measure(segmentation: NDArray[np.uint8], spacing_mm: float) -> dict[str, float]:
    """Volumes in ml and `lesion_count`, the 26-connected components of the lesion mask, of labels (X, Y, Z)."""
    counts = np.bincount(segmentation.ravel(), minlength=max(LABELS.values()) + 1)
    voxel_ml = spacing_mm**3 / 1000.0
    measured = {
        name: round(float(sum(counts[LABELS[part]] for part in parts)) * voxel_ml, 3)
        for name, (_, parts) in MEASURES.items()
    }
    _, components = ndimage.label(segmentation >= FIRST_LESION, structure=np.ones((3, 3, 3)))
    return {**measured, "lesion_count": int(components)}

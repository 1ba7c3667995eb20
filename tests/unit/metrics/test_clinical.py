from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import pearsonr

from mrigen.labels import Modality, Pathology
from mrigen.metrics.clinical import BrainSlice
from mrigen.phantom import make_subject
from mrigen.phantom.segmentation import LABELS

BRIGHT_LESIONS = [LABELS[name] for name in ("oedema", "rim", "tumour", "plaque", "hyperintensity")]
SIZE, TISSUE = 128, 0.4
MM = 1.5

Image = NDArray[np.float32]


def disc(x_mm: float, radius_mm: float) -> NDArray[np.bool_]:
    """Pixels within `radius_mm` of a point `x_mm` beside the centre."""
    x, y = (np.mgrid[:SIZE, :SIZE] - SIZE / 2) * MM
    return np.asarray(np.hypot(x - x_mm, y) < radius_mm)


def brain(**spots: tuple[NDArray[np.bool_], float]) -> Image:
    """A disc of tissue of 70 mm radius, brightness 0.4 of 0 to 1, with spots of other brightness."""
    brightness = np.where(disc(0, 70), TISSUE, 0.0)
    for where, value in spots.values():
        brightness[where] = value
    return (2 * brightness - 1).astype(np.float32)


@pytest.mark.parametrize("modality", [Modality.FLAIR, Modality.T1CE])
def test_bright_and_dark_discs_have_their_areas(modality: Modality) -> None:
    image = brain(lesion=(disc(40, 9), 0.9), ventricle=(disc(-5, 15), 0.05))
    measured = BrainSlice.of(image, MM)
    assert measured.bright_mm2(modality) == pytest.approx(math.pi * 9**2, rel=0.15)
    assert measured.ventricle_mm2(modality) == pytest.approx(math.pi * 15**2, rel=0.1)


def test_neither_cortex_nor_sulci_nor_grains_count() -> None:
    image = brain(cortex=(disc(0, 70) & ~disc(0, 68), 0.9), sulcus=(disc(55, 4), 0.05), grain=(disc(30, 1), 0.9))
    measured = BrainSlice.of(image, MM)
    assert measured.bright_mm2(Modality.FLAIR) == 0
    assert measured.ventricle_mm2(Modality.FLAIR) == 0


def test_the_scale_of_intensities_does_not_matter() -> None:
    image = brain(lesion=(disc(40, 9), 0.9), ventricle=(disc(0, 15), 0.05))
    darker = (image + 1) * 0.6 - 1
    first, second = BrainSlice.of(image, MM), BrainSlice.of(darker, MM)
    assert first.bright_mm2(Modality.FLAIR) == second.bright_mm2(Modality.FLAIR)
    assert first.ventricle_mm2(Modality.FLAIR) == second.ventricle_mm2(Modality.FLAIR)


@pytest.mark.parametrize("value", [-1.0, 0.3])
def test_images_without_anatomy_show_nothing(value: float) -> None:
    measured = BrainSlice.of(np.full((SIZE, SIZE), value, np.float32), MM)
    assert measured.bright_mm2(Modality.FLAIR) == 0
    assert measured.ventricle_mm2(Modality.T1W) == 0


def test_what_a_modality_does_not_show_is_not_measured() -> None:
    measured = BrainSlice.of(brain(), MM)
    assert measured.bright_mm2(Modality.T1W) is None
    assert measured.bright_mm2(Modality.T2W) is None
    assert measured.ventricle_mm2(Modality.PD) is None


def test_areas_of_phantoms_follow_their_truth() -> None:
    true_bright, bright, true_ventricles, ventricles = [], [], [], []
    for index in (list(Pathology).index(p) for p in (Pathology.GLIOBLASTOMA, Pathology.DEMENTIA, Pathology.HEALTHY)):
        subject = make_subject(0, index, 3.0)
        volume, labels = subject.images[Modality.FLAIR], subject.segmentation
        image = np.clip(2 * volume / np.percentile(volume[labels > 0], 99.5) - 1, -1, 1)
        middle = volume.shape[2] // 2
        for z in range(middle - 6, middle + 12, 2):
            measured = BrainSlice.of(image[:, :, z], 3.0)
            bright.append(measured.bright_mm2(Modality.FLAIR))
            ventricles.append(measured.ventricle_mm2(Modality.FLAIR))
            true_bright.append(np.isin(labels[:, :, z], BRIGHT_LESIONS).sum())
            true_ventricles.append((labels[:, :, z] == LABELS["ventricle"]).sum())
    assert pearsonr(true_bright, bright).statistic > 0.9
    assert pearsonr(true_ventricles, ventricles).statistic > 0.9

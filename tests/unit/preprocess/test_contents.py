"""What is offered as a scan and is none: masks, maps of labels, noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrigen.preprocess.contents import check_contents
from mrigen.preprocess.foreground import find_foreground
from mrigen.volume import Volume, VolumeError, read_volume
from tests.fake_scans import made_up_scan

SCAN = made_up_scan(1)
BRAIN = SCAN.array > 0
RANDOM = np.random.default_rng(0)
GRID = np.indices(BRAIN.shape)
NO_SCANS = {
    "mask": (BRAIN, "a mask or a map of labels, not a scan: 1 value beside"),
    "lesions": (BRAIN & (GRID.max(axis=0) < 24), "a mask or a map of labels"),
    "tissues": (BRAIN * (1 + GRID[0] // 16 + 3 * (GRID[1] // 14)), "a map of labels, not a scan: [0-9]+ values beside"),
    "regions": (BRAIN * (1000 + sum(10**k * (axis // 9) for k, axis in enumerate(GRID))), "a map of labels"),
    "noise": (RANDOM.rayleigh(100, BRAIN.shape), r"noise, not a scan: neighbouring voxels correlate by -?0\.0"),
    "noise in whole numbers": (RANDOM.integers(0, 40, BRAIN.shape), "noise, not a scan"),
    "noise in a brain": (BRAIN * RANDOM.normal(100, 10, BRAIN.shape), "noise, not a scan"),
}


def check(volume: Volume) -> None:
    check_contents(volume, find_foreground(volume).mask)


@pytest.mark.parametrize("name", NO_SCANS)
def test_masks_labels_and_noise_are_no_scans(name: str) -> None:
    array, words = NO_SCANS[name]
    with pytest.raises(VolumeError, match=words) as caught:
        check(Volume(array.astype(np.float32), SCAN.affine))
    assert caught.value.fault == "voxels"


@pytest.mark.parametrize("stripped", [True, False])
@pytest.mark.parametrize("most", [2000, 255, 40])
def test_scans_are_taken_of_few_grey_values_too(stripped: bool, most: int) -> None:
    scan = made_up_scan(2, stripped=stripped)
    check(Volume(np.rint(scan.array * most / scan.array.max()).astype(np.float32), scan.affine))


@pytest.mark.realdata
def test_real_scans_are_told_from_their_masks(real_data: Path) -> None:
    files = sorted(real_data.rglob("*.nii.gz"))[::2]
    refused = []
    for file in files:
        try:
            check(read_volume(file))
        except VolumeError:
            refused.append(file.name[:13])
    assert len(files) > 8
    assert set(refused) == {"GOLD_STANDARD"}

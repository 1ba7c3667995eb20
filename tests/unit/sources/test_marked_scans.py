"""Lesion masks from the files of a tree to the rows of `data/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import ndimage

from mrigen.config import load_config
from mrigen.each import one_by_one
from mrigen.records import unpack_mask
from mrigen.stages.phantom import phantom_run
from mrigen.stages.prepare import prepare_run
from mrigen.storage import Location
from tests.fake_scans import found, write_bids

pytestmark = pytest.mark.usefixtures("no_data_page")
CONFIG = load_config("tiny")
CONFIG = CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update={"image_size": 48, "spacing_mm": 4.0})})
SEED, SPACING_MM = 3, 4.0
HEALTHY, GLIOBLASTOMA = 0, 1


def prepare(tree: Path, run: Path) -> list[dict[str, Any]]:
    """The rows of the run that a tree gives, with `lesions` unpacked."""
    prepare_run(Location.parse(run), CONFIG, found(tree), one_by_one)
    rows = pq.read_table(run / "data", columns=["id", "subject", "modality", "affine", "lesions"]).to_pylist()
    for row in rows:
        row["lesions"] = None if row["lesions"] is None else unpack_mask(row["lesions"], (48, 48))
    return rows


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("phantom")
    phantom_run(Location.parse(tree), one_by_one, subjects=2, seed=SEED, spacing_mm=SPACING_MM)
    return tree


def at_pixels(mask: nibabel.Nifti1Image, slice_affine: list[float]) -> np.ndarray:
    """Where a mask, between its voxels interpolated, is at least one half: a slice (48, 48) of the same spacing."""
    i, j = np.meshgrid(np.arange(48), np.arange(48), indexing="ij")
    pixels = np.stack([i, j, np.zeros_like(i), np.ones_like(i)])
    to_voxel = np.linalg.inv(mask.affine) @ np.reshape(slice_affine, (4, 4))
    voxels = np.tensordot(to_voxel, pixels, axes=1)[:3]
    return ndimage.map_coordinates(np.asarray(mask.dataobj, np.float64), voxels, order=1, mode="constant") >= 0.5


def test_the_phantoms_masks_come_into_the_rows_of_all_its_scans(phantom: Path, tmp_path: Path) -> None:
    rows = prepare(phantom, tmp_path / "run")
    assert all(row["lesions"] is not None for row in rows)
    assert not any(row["lesions"].any() for row in rows if row["subject"] == f"phantom{HEALTHY:04d}")
    subject = f"phantom{GLIOBLASTOMA:04d}"
    (file,) = phantom.glob(f"derivatives/lesions/sub-{subject}/anat/*_desc-lesion_mask.nii.gz")
    truth = nibabel.load(file)
    marked = [row for row in rows if row["subject"] == subject]
    expected = np.array([at_pixels(truth, row["affine"]) for row in marked])
    shown = np.array([row["lesions"] for row in marked])
    for modality in ("T1w", "T1ce", "T2w", "FLAIR", "PD"):
        mine = np.array([row["modality"] == modality for row in marked])
        assert expected[mine].sum() > 50, modality
        # A lesion's rim lies where its volume ends, not where half of a pixel does.
        assert (shown ^ expected)[mine].sum() <= 0.1 * expected[mine].sum(), modality


def test_another_mask_makes_other_rows_and_no_mask_tells_nothing(tmp_path: Path) -> None:
    tree = write_bids(tmp_path / "tree", {"a": "MS", "b": "MS"}, ("FLAIR",))
    scan = nibabel.load(tree / "sub-a/anat/sub-a_FLAIR.nii.gz")
    mask = tree / "derivatives/rater/sub-a/anat/sub-a_label-lesion_mask.nii.gz"
    mask.parent.mkdir(parents=True)
    voxels = np.zeros(scan.shape, np.uint8)

    def marked(height: int) -> int:
        voxels[20:28, 20:28, :height] = 1
        nibabel.save(nibabel.Nifti1Image(voxels, scan.affine), mask)
        rows = prepare(tree, tmp_path / "run")
        assert all(row["lesions"] is None for row in rows if row["subject"] == "b")
        return sum(int(row["lesions"].sum()) for row in rows if row["subject"] == "a")

    assert marked(0) == 0
    half = marked(24)
    assert half > 0
    assert marked(48) > half

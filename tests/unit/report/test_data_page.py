"""The page of a prepared data set, read back as a user's browser gets it."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mrigen.config import Config, load_config
from mrigen.each import one_by_one
from mrigen.prepare.prepared_data import PreparedData
from mrigen.preprocess.template import load_template
from mrigen.report.data.page import PAGE
from mrigen.sources.options import Source
from mrigen.sources.recognise import find_all_scans
from mrigen.stages.prepare import prepare_run
from mrigen.storage import Location
from mrigen.volume import Volume, nifti_bytes
from tests.fake_scans import write_bids, write_scan

CONFIG = load_config("tiny", overrides=["data.image_size=32", "data.spacing_mm=6"])


def prepared(folder: Path, config: Config = CONFIG) -> tuple[Location, PreparedData, str]:
    tree = write_bids(folder / "tree", {"a": "MS", "b": "control"})
    (tree / "sub-a/anat/sub-a_T2w.nii.gz").write_bytes(b"<script>no scan")
    write_scan(tree / "sub-a/anat/sub-a_label-lesion_mask.nii.gz", 9)
    run = Location.parse(folder / "run")
    done = prepare_run(run, config, find_all_scans([Source(Location.parse(tree))]), one_by_one)
    return run, done, (run / PAGE).read_bytes().decode()


def pictures(page: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in re.findall(r"base64,([^\"]+)", page)]


def test_the_page_holds_all_its_sections_loads_nothing_and_is_the_same_for_the_same_data(tmp_path: Path) -> None:
    _, done, page = prepared(tmp_path / "one" / "x")
    assert page.replace("/one/", "/two/") == prepared(tmp_path / "two" / "x")[2]
    assert "http" not in page.replace("http-equiv", "")
    assert f"{done.num_images} images" in page
    assert "16 of 20 cells" in page
    assert 0 < done.num_marked < done.num_images
    assert f"{done.num_marked} of the images have a lesion mask" in page
    assert "4 x 4 x 4 mm" in page
    assert "1 file: 1 format" in page
    assert "sub-a_T2w.nii.gz" in page
    assert "no subject fell into" in page
    images = pictures(page)
    assert len(images) == 4 + 1
    assert [image.size for image in images[:4]] == [(32, 32)] * 4
    assert all(np.asarray(image.convert("L")).std() > 10 for image in images)


def test_a_head_with_a_mask_is_stripped_then_registered_and_shown_with_the_templates_outline(tmp_path: Path) -> None:
    template = load_template(2)
    skull = ndimage.binary_dilation(np.pad(template.brain, 8), iterations=4)
    scalp = ndimage.binary_dilation(skull, iterations=3) & ~skull
    array = np.where(scalp, 0.9, np.pad(template.t1.array, 8)) + np.random.default_rng(0).uniform(0, 0.02, skull.shape)
    away = np.eye(4)
    away[:3, :3] = Rotation.from_euler("x", 15, degrees=True).as_matrix()
    inner = away @ template.t1.affine
    affine = inner.copy()
    affine[:3, 3] -= inner[:3, :3] @ [8, 8, 8]
    array, brain, coarser = array[::2, ::2, ::2], template.brain[::2, ::2, ::2], np.diag([2.0, 2.0, 2.0, 1.0])
    affine, inner = affine @ coarser, inner @ coarser
    for name, values, place in (("head", array, affine), ("unmasked", array[::-1], affine)):
        volume = Volume(values.astype(np.float32), place)
        (tmp_path / f"{name}.nii").write_bytes(nifti_bytes(volume, description=""))
    mask = Volume(brain.astype(np.float32), inner)
    (tmp_path / "brain.nii").write_bytes(nifti_bytes(mask, description=""))
    rows = ["path,subject,pathology,modality,mask", "head.nii,a,MS,T2w,brain.nii", "unmasked.nii,b,MS,T2w,"]
    (tmp_path / "scans.csv").write_text("\n".join(rows))
    config = load_config("tiny", overrides=["data.head=strip", "data.registration=affine", "data.spacing_mm=6"])
    run = Location.parse(tmp_path / "run")
    done = prepare_run(run, config, find_all_scans([Source(Location.parse(tmp_path / "scans.csv"))]), one_by_one)
    assert [item.fault for item in done.rejected] == ["mask"]
    assert "unmasked.nii: no brain mask" in done.rejected[0].reason
    assert [(trait.stripped, count) for trait, count in done.traits.items()] == [(True, 1)]
    assert done.num_images == 3
    (shown,) = done.registered
    assert shown["overlap"] > 0.95
    page = (run / PAGE).read_bytes().decode()
    assert "Every registered scan in MNI space" in " ".join(page.split())
    assert shown["picture"] in page


def test_a_volume_shows_its_middle(tmp_path: Path) -> None:
    config = load_config("tiny", overrides=["data.image_size=32", "data.spacing_mm=6", "data.spatial_dims=3"])
    _, done, page = prepared(tmp_path, config)
    assert done.num_images == 4
    assert all(np.asarray(image.convert("L")).std() > 10 for image in pictures(page))

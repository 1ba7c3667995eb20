"""The page of a prepared data set, read back as a user's browser gets it."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from mrigen.config import Config, load_config
from mrigen.each import one_by_one
from mrigen.prepare.prepared_data import PreparedData
from mrigen.report.data.page import PAGE
from mrigen.sources.options import Source
from mrigen.sources.recognise import find_all_scans
from mrigen.stages.prepare import prepare_run
from mrigen.storage import Location
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


def test_a_volume_shows_its_middle(tmp_path: Path) -> None:
    config = load_config("tiny", overrides=["data.image_size=32", "data.spacing_mm=6", "data.spatial_dims=3"])
    _, done, page = prepared(tmp_path, config)
    assert done.num_images == 4
    assert all(np.asarray(image.convert("L")).std() > 10 for image in pictures(page))

"""Files that are answered: what they hold, that they are marked as synthetic, and always the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from serving_fakes import FakeSample, fake_files, order_of

from jobs.serve.api import Format, ModelInfo
from jobs.serve.files import archive, nifti_description, provenance_headers, sample_file
from mrigen.config import SamplerConfig


def test_npy_holds_the_image_bit_for_bit(model: ModelInfo) -> None:
    order = order_of(model, format="npy")
    sample = FakeSample(order, 99)
    array = np.load(io.BytesIO(sample_file(sample, order, 0).data), allow_pickle=False)
    assert array.dtype == np.float32
    assert np.array_equal(array, sample.image)


def test_nifti_holds_the_volume_and_is_marked(model: ModelInfo) -> None:
    order = order_of(model, format="nifti")
    sample = FakeSample(order, 99)
    raw = gzip.decompress(sample_file(sample, order, 0).data)
    image = nibabel.Nifti1Image.from_bytes(raw)
    assert np.array_equal(image.get_fdata(), sample.volume().array)
    assert np.array_equal(image.affine, sample.volume().affine)
    descrip = bytes(image.header["descrip"]).rstrip(b"\0").decode()
    assert descrip.startswith("synthetic mrigen")
    assert f"{model.sha256[:8]} seed 99 dpmpp-2m/3/2/0/0/cfg/0-1/8" in descrip


@pytest.mark.parametrize("version", ["0.1.0", "0.10.0", "12.34.56.dev12345"])
@pytest.mark.parametrize(
    "sampler", [SamplerConfig(), SamplerConfig(solver="dpmpp-2m", num_steps=1000, guidance_scale=12.3456789)]
)
def test_the_longest_description_fits_the_header(
    model: ModelInfo, sampler: SamplerConfig, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.serve.files.__version__", version)
    order = order_of(model, "Glioblastoma:T1ce", sampler=sampler)
    text = nifti_description(FakeSample(order, 2**64 - 1).provenance())
    assert len(text) <= 79
    assert text.startswith(f"synthetic mrigen {version} ")
    assert "seed 18446744073709551615" in text


def test_png_is_upright_and_holds_its_provenance(model: ModelInfo) -> None:
    order = order_of(model)
    file = sample_file(FakeSample(order, 99), order, 4)
    image = Image.open(io.BytesIO(file.data))
    expected = np.rint((FakeSample(order, 99).image + 1) * 127.5).astype(np.uint8)
    assert np.array_equal(np.asarray(image), expected.T[::-1])  # left is left, anterior up
    assert image.text["Description"].startswith("Synthetic brain MRI")
    told = json.loads(image.text["mrigen"])
    assert told == dict(file.provenance)
    assert (told["synthetic"], told["seed"], told["request_seed"], told["index"]) == (True, 99, 7, 4)


@pytest.mark.parametrize("format", ["nifti", "png", "npy"])
def test_an_archive_is_always_the_same_bytes_and_its_index_is_true(model: ModelInfo, format: Format) -> None:
    order = order_of(model, format=format, count=3)
    data = archive(fake_files(order))
    assert data == archive(fake_files(order))
    unpacked = zipfile.ZipFile(io.BytesIO(data))
    assert unpacked.testzip() is None
    assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in unpacked.infolist())
    index = json.loads(unpacked.read("index.json"))
    assert index["synthetic"] is True
    assert unpacked.namelist() == ["index.json", *(entry["file"] for entry in index["samples"])]
    for k, entry in enumerate(index["samples"]):
        assert entry["sha256"] == hashlib.sha256(unpacked.read(entry["file"])).hexdigest()
        assert (entry["index"], entry["seed"], entry["request_seed"]) == (k, 7000 + k, 7)
        assert entry["model_sha256"] == model.sha256


def headers_of(model: ModelInfo, **changes: Any) -> dict[str, str]:
    return provenance_headers(fake_files(order_of(model, **changes)))


def test_headers_tell_what_all_files_share(model: ModelInfo) -> None:
    one, many = headers_of(model), headers_of(model, count=3)
    assert set(one) - set(many) == {"X-Mrigen-Sample-Seed", "X-Mrigen-Index", "X-Mrigen-Slice-Mm"}
    assert many["X-Mrigen-Synthetic"] == "true"
    assert many["X-Mrigen-Seed"] == "7"
    assert many["X-Mrigen-Modality"] == "FLAIR"
    assert all(value.isascii() and value.isprintable() for value in one.values())
    guide = (Path(__file__).parents[3] / "docs/guides/serve.md").read_text(encoding="utf-8")
    untold = [name for name in one if f"{name.removeprefix('X-Mrigen')}`" not in guide]
    assert untold == ["X-Mrigen-Generator", "X-Mrigen-Index"]

"""Hypothesis looks for headers that get through and should not: what comes out is a good volume or a VolumeError."""

from __future__ import annotations

import gzip
import math
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mrigen.volume import Volume, VolumeError, read_header, read_volume
from tests.malformed import SHAPE, analyze_header, good_array, nifti

MAX_BYTES = 1 << 18
MAX_MEMORY = 1 << 21
HEADERS = {
    "nifti-1": (nifti(), nibabel.nifti1.header_dtype),
    "nifti-2": (nifti(kind=nibabel.Nifti2Image), nibabel.nifti2.header_dtype),
    "analyze": (analyze_header(order="<"), nibabel.analyze.header_dtype),
}
IMAGE = good_array().tobytes(order="F")
search = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MAX_MEMORY  # nibabel's own tables and the pieces of a file that are read at a time


def read(path: Path, **options: Any) -> tuple[Volume | None, str]:
    try:
        return read_volume(path, max_bytes=MAX_BYTES, **options), ""
    except VolumeError as error:
        return None, str(error)


def check(folder: Path, content: bytes, *, suffix: str, compressed: bool, **options: Any) -> None:
    """Read a file; a volume that comes out must be one that can be worked with."""
    path = folder / f"searched{suffix}"
    path.write_bytes(gzip.compress(content, compresslevel=1) if compressed else content)
    path.with_suffix(".img").write_bytes(IMAGE)
    with little_memory():
        volume, told = read(path, **options)
    if volume is None:
        assert told.startswith(str(folder))
        assert "\n" not in told
        return
    assert volume.array.dtype == np.float32
    assert min(volume.array.shape) >= 8
    assert volume.array.nbytes <= MAX_BYTES
    assert 1e-18 <= float(volume.array.max()) - float(volume.array.min()) <= 2e18
    assert np.isfinite(volume.array).all()
    assert np.isfinite(np.linalg.inv(volume.affine)).all()
    assert all(0.05 <= length <= 20 for length in volume.spacing_mm)
    np.testing.assert_array_equal(nibabel.io_orientation(volume.affine), [[0, 1], [1, 1], [2, 1]])
    header = read_header(path, max_bytes=MAX_BYTES, **options)
    assert sorted(header.shape) == sorted(volume.array.shape)


@search
@given(kind=st.sampled_from(sorted(HEADERS)), compressed=st.booleans(), data=st.data())
def test_any_field_may_hold_anything(tmp_path: Path, kind: str, compressed: bool, data: st.DataObject) -> None:
    content, dtype = HEADERS[kind]
    raw = bytearray(content)
    header = np.ndarray((), dtype, raw)
    for name in data.draw(st.lists(st.sampled_from(dtype.names), min_size=1, max_size=3, unique=True)):
        header[name] = data.draw(npst.from_dtype(dtype[name].base) if not dtype[name].shape else _row(dtype[name]))
    check(tmp_path, bytes(raw), suffix=".hdr" if kind == "analyze" else ".nii", compressed=compressed)


def _row(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    assert dtype.subdtype is not None
    return npst.arrays(dtype.base, dtype.shape)


@search
@given(
    content=st.sampled_from([content for content, _ in HEADERS.values()]),
    share=st.floats(0, 1) | st.just(1.0),
    compressed=st.booleans(),
    cut_after_packing=st.booleans(),
)
def test_a_file_may_end_anywhere(
    tmp_path: Path, content: bytes, share: float, compressed: bool, cut_after_packing: bool
) -> None:
    if cut_after_packing:
        content = gzip.compress(content)
    check(tmp_path, content[: int(share * len(content))], suffix=".nii", compressed=compressed)


SIZES = st.integers(8, 16)
ODD_SIZES = st.integers(-2, 40) | st.sampled_from([32767, -32768])
DTYPES = st.sampled_from([np.uint8, np.int16, np.int32, np.float32, np.float64, np.int64, np.uint64, np.complex64])


@search
@given(
    dims=st.lists(SIZES, min_size=3, max_size=3) | st.lists(SIZES | ODD_SIZES, min_size=1, max_size=5),
    dtype=DTYPES,
    scaling=st.just((1.0, 0.0)) | st.tuples(*[st.floats(width=32)] * 2),
    frame=st.none() | st.integers(-1, 3),
    bytes_too_many=st.just(0) | st.integers(-5000, 5000),
    compressed=st.booleans(),
)
@example([12, 13, 14, 2], np.int16, (1.0, 0.0), 1, 0, True)
def test_shapes_types_and_scalings_in_any_combination(
    tmp_path: Path,
    dims: list[int],
    dtype: Any,
    scaling: tuple[float, float],
    frame: int | None,
    bytes_too_many: int,
    compressed: bool,
) -> None:
    sizes = [*dims, *[1] * 7][:7]
    raw = nifti(np.zeros(SHAPE, dtype), dim=[len(dims), *sizes], scl_slope=scaling[0], scl_inter=scaling[1])
    claimed = math.prod(sizes) * np.dtype(dtype).itemsize + bytes_too_many
    size = min(max(0, claimed), 2 * MAX_BYTES)
    voxels = (good_array(dtype).tobytes() * (1 + size // good_array(dtype).nbytes))[:size]
    check(tmp_path, raw[:352] + voxels, suffix=".nii", compressed=compressed, frame=frame)


NUMBERS = st.floats(width=32)
LENGTHS = st.sampled_from([-1.0, 0.5, 1.0, 3.0])


@search
@given(
    rows=npst.arrays(np.float32, (3, 4), elements=st.floats(-10, 10, width=32))
    | npst.arrays(np.float32, (3, 4), elements=LENGTHS | NUMBERS),
    quaternion=st.tuples(*[st.floats(-0.75, 0.75, width=32)] * 3) | st.tuples(*[NUMBERS] * 3),
    offsets=st.tuples(*[st.floats(-500, 500, width=32)] * 3) | st.tuples(*[NUMBERS] * 3),
    pixdim=npst.arrays(np.float32, 8, elements=LENGTHS) | npst.arrays(np.float32, 8, elements=LENGTHS | NUMBERS),
    codes=st.tuples(*[st.integers(0, 4)] * 2) | st.tuples(*[st.integers(-1, 5)] * 2),
)
def test_geometries_in_any_combination(
    tmp_path: Path, rows: Any, quaternion: Any, offsets: Any, pixdim: Any, codes: tuple[int, int]
) -> None:
    names = ("srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    fields = dict(zip(names, [*rows, *quaternion, *offsets], strict=True))
    content = nifti(pixdim=pixdim, sform_code=codes[0], qform_code=codes[1], **fields)
    check(tmp_path, content, suffix=".nii", compressed=False)


def test_axes_that_tie_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a search found: reordered to RAS+, these axes come out in another order again. Which of two that tie comes
    first is for the last bit to say, and so for the processor: here it says what it said there."""
    orders = iter([[[2, 1], [0, 1], [1, 1]], [[1, 1], [0, 1], [2, 1]]])
    monkeypatch.setattr(nibabel, "io_orientation", lambda affine: np.array(next(orders), float))
    rows = {"srow_x": [0, 1, 1, 1], "srow_y": [1, 0, 1, 1], "srow_z": [1, 1, 1, 1]}
    path = tmp_path / "askew.nii"
    path.write_bytes(nifti(sform_code=1, qform_code=0, **rows))
    with pytest.raises(
        VolumeError, match=r"askew\.nii: ambiguous sform: its axes lie too askew to tell which is which"
    ):
        read_volume(path)


def test_a_search_finds_good_volumes_too(tmp_path: Path) -> None:
    for suffix, (content, _) in zip((".nii", ".nii", ".hdr"), HEADERS.values(), strict=True):
        check(tmp_path, content, suffix=suffix, compressed=True)
        assert read_volume(tmp_path / f"searched{suffix}").array.shape == SHAPE
    with pytest.raises(VolumeError):
        read_volume(tmp_path / "searched.hdr", max_bytes=1000)

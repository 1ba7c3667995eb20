"""Rows to Parquet and back, read by plain pyarrow too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrigen.errors import InputError
from mrigen.records import (
    image_schema,
    pack_mask,
    read_image_file,
    read_table,
    tensor_numpy,
    to_table,
    unpack_mask,
    write_table,
)
from mrigen.storage import Location

SHAPE = (4, 6)


def row(number: int) -> dict[str, Any]:
    return {
        "id": f"i{number}",
        "subject": "s",
        "session": "",
        "source": "made up",
        "pathology": "Healthy",
        "modality": "T1w",
        "split": "train",
        "slice_mm": 1.5 * number,
        "image": np.full(SHAPE, number / 8, np.float32) + np.arange(24, dtype=np.float32).reshape(SHAPE) / 32,
        "affine": np.eye(4).ravel().tolist(),
        "lesions": None,
        "spacing_mm": 3.0,
        "licence": "CC0",
        "sha256": "0" * 64,
    }


def test_images_come_back_also_to_plain_pyarrow(tmp_path: Path) -> None:
    rows = [row(number) for number in range(5)]
    file = tmp_path / "a.parquet"
    write_table(to_table(rows, image_schema(SHAPE)), Location.parse(file))
    table = pq.read_table(file)
    assert table.schema == image_schema(SHAPE)
    assert isinstance(table.schema.field("image").type, pa.FixedShapeTensorType)
    columns = pq.ParquetFile(file).metadata.row_group(0).to_dict()["columns"]
    with_dictionary = {column["path_in_schema"].split(".")[0] for column in columns if column["has_dictionary_page"]}
    assert "image" not in with_dictionary  # which would take four times as long to read
    assert "pathology" in with_dictionary
    images = table["image"].combine_chunks()
    plain = (images.chunk(0) if isinstance(images, pa.ChunkedArray) else images).to_numpy_ndarray()
    expected = np.stack([r["image"] for r in rows])
    np.testing.assert_array_equal(plain, expected)
    ours = tensor_numpy(read_table(Location.parse(tmp_path))["image"])
    np.testing.assert_array_equal(ours, expected)
    assert ours.dtype == np.float32
    assert table["affine"].to_pylist()[3] == np.eye(4).ravel().tolist()


def test_tables_of_several_files_are_read_by_name_and_column(tmp_path: Path) -> None:
    folder = Location.parse(tmp_path)
    for name, numbers in (("b", [2, 3]), ("a", [0, 1]), ("c", [])):
        write_table(to_table([row(n) for n in numbers], image_schema(SHAPE)), folder / f"{name}.parquet")
    table = read_table(folder)
    assert table["id"].to_pylist() == ["i0", "i1", "i2", "i3"]
    assert tensor_numpy(table["image"]).shape == (4, *SHAPE)
    assert read_table(folder, ["slice_mm"]).column_names == ["slice_mm"]
    with pytest.raises(FileNotFoundError):
        read_table(folder / "empty")


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = Location.parse(tmp_path)
    for name in ("a", "b"):
        write_table(to_table([row(1)], image_schema(SHAPE)), folder / name)
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    folder = Location.parse(tmp_path)
    file = folder / "a.parquet"
    write_table(to_table([row(n) for n in range(20)], image_schema(SHAPE)), file)
    whole = file.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # names and places of columns: not checksummed
    found = 0
    for position in range(10, footer, 37):
        damaged = bytearray(whole)
        damaged[position] ^= 4
        file.write_bytes(bytes(damaged))
        try:
            assert read_table(folder).equals(to_table([row(n) for n in range(20)], image_schema(SHAPE)))
        except InputError:
            found += 1
    assert found > 5


def test_no_rows_make_an_empty_table() -> None:
    table = to_table([], image_schema(SHAPE))
    assert table.num_rows == 0
    assert tensor_numpy(table["image"]).shape == (0, *SHAPE)


def test_an_image_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image has shape \(6, 4\)"):
        to_table([{**row(0), "image": np.zeros((6, 4))}], image_schema(SHAPE))


@pytest.mark.parametrize("content", [b"junk", b"", b"PAR1" + bytes(40) + b"PAR1"])
def test_a_file_that_is_no_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.parquet is no whole Parquet file .* delete it and make it anew"):
        read_table(Location.parse(tmp_path))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match=r"other\.parquet has no column 'image': it is of something else"):
        read_table(Location.parse(tmp_path), ["id", "image"])


@pytest.mark.parametrize("shape", [(3, 5), (8, 8), (2, 3, 7)])
def test_masks_come_back(shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.5
    packed = pack_mask(mask)
    assert len(packed) == (mask.size + 7) // 8
    assert np.array_equal(unpack_mask(packed, shape), mask)
    with pytest.raises(ValueError, match="bytes are no mask of shape"):
        unpack_mask(packed[:-1], shape)


@pytest.mark.parametrize(("value", "told"), [(1.5, "1.5"), (-254.0, "-254")])
def test_values_beyond_the_range_of_images_are_refused(tmp_path: Path, value: float, told: str) -> None:
    file = Location.parse(tmp_path / "part-00000.parquet")
    image = np.zeros(SHAPE, np.float32)
    image[1, 2] = value
    write_table(to_table([row(0), {**row(1), "image": image}], image_schema(SHAPE)), file)
    with pytest.raises(InputError, match=rf"part-00000.parquet holds images with the value {told}: all must lie in"):
        read_image_file(file)


def test_images_that_are_not_finite_come_through_and_columns_that_are_not_there_are_null(tmp_path: Path) -> None:
    file = Location.parse(tmp_path / "part-00000.parquet")
    image = np.ones(SHAPE, np.float32)
    image[0, 0], image[1, 1] = np.nan, np.inf
    table = to_table([{**row(0), "image": image}], image_schema(SHAPE))
    write_table(table.drop_columns(["lesions"]), file)
    found = read_image_file(file, ["image", "lesions"])
    assert found.column_names == ["image", "lesions"]
    assert found["lesions"].to_pylist() == [None]
    assert np.array_equal(tensor_numpy(found["image"])[0], image, equal_nan=True)

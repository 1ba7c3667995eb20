"""The Arrow schemas of the files between stages, and rows to and from them.

Tensor columns are Arrow's standard `fixed_shape_tensor`, which plain pyarrow reads.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mrigen.errors import InputError
from mrigen.run import SUCCESS
from mrigen.storage import Location

SPLITS = ("train", "val", "test")


def _tensor(shape: Sequence[int]) -> pa.DataType:
    return pa.fixed_shape_tensor(pa.float16(), list(shape))


def image_schema(shape: Sequence[int]) -> pa.Schema:
    """Rows of `data/`: one training image each, `image` of the given shape with values in [-1, 1].

    `lesions` is the mask of its lesions as `pack_mask` gives it, null where nobody knows.
    """
    return pa.schema(
        [
            ("id", pa.string()),
            ("subject", pa.string()),
            ("session", pa.string()),
            ("source", pa.string()),
            ("pathology", pa.string()),
            ("modality", pa.string()),
            ("split", pa.string()),
            ("slice_mm", pa.float32()),
            ("image", _tensor(shape)),
            ("lesions", pa.binary()),
            ("affine", pa.list_(pa.float64(), 16)),
            ("spacing_mm", pa.float32()),
            ("licence", pa.string()),
            ("sha256", pa.string()),
        ]
    )


def latent_schema(shape: Sequence[int]) -> pa.Schema:
    """Rows of `latents/`: the autoencoder's posterior of one image, `mean` and `logvar` of (C, *spatial)."""
    return pa.schema(
        [
            ("id", pa.string()),
            ("subject", pa.string()),
            ("source", pa.string()),
            ("pathology", pa.string()),
            ("modality", pa.string()),
            ("split", pa.string()),
            ("slice_mm", pa.float32()),
            ("mean", _tensor(shape)),
            ("logvar", _tensor(shape)),
        ]
    )


def sample_schema(shape: Sequence[int]) -> pa.Schema:
    """Rows of `samples/manifest/`: one synthetic image each, with all that makes it again.

    `path` is that of its NIfTI file and `file_sha256` its hash; in a data set without such files null, and the hash of
    the image.
    """
    return pa.schema(
        [
            ("id", pa.string()),
            ("shard", pa.int64()),
            ("pathology", pa.string()),
            ("modality", pa.string()),
            ("source", pa.string()),
            ("trained_cell", pa.bool_()),
            ("index", pa.int64()),
            ("seed", pa.uint64()),
            ("slice_mm", pa.float32()),
            ("solver", pa.string()),
            ("num_steps", pa.int32()),
            ("guidance_scale", pa.float32()),
            ("pathology_scale", pa.float32()),
            ("modality_scale", pa.float32()),
            ("guide", pa.string()),
            ("guidance_interval", pa.list_(pa.float32(), 2)),
            ("compute_batch", pa.int32()),
            ("precision", pa.string()),
            ("model_sha256", pa.string()),
            ("path", pa.string()),
            ("file_sha256", pa.string()),
            ("image", _tensor(shape)),
        ]
    )


def to_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows whose tensor fields are numpy arrays -> a table of `schema`.

    Raises ValueError if a tensor's shape is not that of the schema.
    """
    columns: list[pa.Array] = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if isinstance(field.type, pa.FixedShapeTensorType):
            columns.append(tensor_column(values, field))
        else:
            columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def tensor_column(values: Sequence[np.ndarray[Any, Any]] | np.ndarray[Any, Any], field: pa.Field) -> pa.Array:
    """Arrays, one a row, as the column `field`. Raises ValueError if one has another shape than the field tells."""
    shape = tuple(field.type.shape)
    for value in values:
        if value.shape != shape:
            raise ValueError(f"{field.name} has shape {value.shape}, its column holds {shape}")
    size = int(np.prod(shape))
    flat = np.concatenate([np.ascontiguousarray(v, np.float16).ravel() for v in values] or [np.empty(0, np.float16)])
    storage = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float16()), size)
    return pa.ExtensionArray.from_storage(field.type, storage)


def tensor_numpy(column: pa.ChunkedArray | pa.Array) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A fixed-shape tensor column -> float32 array (rows, *shape)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks of an extension column may stay chunked
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    return np.asarray(array.to_numpy_ndarray(), np.float32)


def pack_mask(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> bytes:
    """A mask of any shape -> its bits, the last axis fastest, the first pixel in the highest bit of the first byte."""
    return np.packbits(mask).tobytes()


def unpack_mask(packed: bytes, shape: Sequence[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The mask of that shape that was packed. Raises ValueError if its bits are not as many."""
    size = int(np.prod(shape))
    if len(packed) != (size + 7) // 8:
        raise ValueError(f"{len(packed)} bytes are no mask of shape {tuple(shape)}")
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=size).astype(bool).reshape(tuple(shape))


def write_table(table: pa.Table, location: Location) -> None:
    """Publish `table` as one Parquet file, as `table_bytes` gives it."""
    location.write_bytes(table_bytes(table))


def table_bytes(table: pa.Table) -> bytes:
    """`table` as a Parquet file with page checksums; the same table gives the same bytes."""
    buffer = io.BytesIO()
    # Of numbers that hardly repeat a dictionary takes room, and four times the seconds to read.
    plain = [field.name for field in table.schema if not isinstance(field.type, pa.FixedShapeTensorType)]
    pq.write_table(table, buffer, compression="zstd", use_dictionary=plain, write_page_checksum=True)
    return buffer.getvalue()


def read_file(file: Location, columns: Sequence[str] | None = None) -> pa.Table:
    """One Parquet file, checksums verified.

    Raises FileNotFoundError, or InputError that names the file if it is damaged or lacks a column.
    """
    data = io.BytesIO(file.read_bytes())
    try:
        names = set(pq.read_schema(data).names)
        if lacking := [name for name in columns or () if name not in names]:
            raise InputError(f"{file} has no column {lacking[0]!r}: it is of something else, or another version")
        return pq.read_table(data, columns=list(columns) if columns else None, page_checksum_verification=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file} is no whole Parquet file ({reason}): delete it and make it anew") from None


def is_whole(file: Location, ids: Sequence[str], schema: pa.Schema | None = None) -> bool:
    """Whether a Parquet file is there and readable, with a row for each of `ids`, in their order, and with the columns
    of `schema` where it is given: what a killed run left of it need not be made anew."""
    if not file.is_file():
        return False
    try:
        table = read_file(file)
    except InputError:
        return False
    as_asked = schema is None or bool(table.schema.equals(schema))
    return as_asked and "id" in table.column_names and table["id"].to_pylist() == list(ids)


def read_table(folder: Location, columns: Sequence[str] | None = None) -> pa.Table:
    """All Parquet files of `folder`, by sorted name. Raises FileNotFoundError if there is none."""
    files = folder.files(".parquet")
    if not files:
        raise FileNotFoundError(f"no Parquet file in {folder}")
    return pa.concat_tables([read_file(file, columns) for file in files])


def read_image_file(file: Location, columns: Sequence[str] = ("image",)) -> pa.Table:
    """Columns of a file of images, null where it has no such column.

    Raises InputError as `read_file`, and where a finite value of an image lies outside of [-1, 1].
    """
    table = read_file(file)
    for chunk in table["image"].chunks:
        values = chunk.storage.flatten().to_numpy()
        beyond = values[((values < -1.0) | (values > 1.0)) & np.isfinite(values)]
        if len(beyond):
            raise InputError(f"{file} holds images with the value {beyond[0]:g}: all must lie in [-1, 1]")
    for name in columns:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table)))
    return table.select(list(columns))


def prepared_parts(data: Location) -> dict[str, str]:
    """SHA-256 of every Parquet file of a run's `data/` by its name, as `mrigen prepare` closed it.

    Raises InputError if it was not closed, or if the files that are there are others: what is left would be used as if
    it were all.
    """
    mark = data / SUCCESS
    if not mark.is_file():
        raise InputError(f"{data} is missing or unfinished: run `mrigen prepare` to its end first")
    tree = mark.read_json()
    parts = tree.get("parts") if isinstance(tree, dict) else None
    if not isinstance(parts, dict):
        raise InputError(f"{mark} does not list the files of {data}: run `mrigen prepare` again")
    found = {file.name for file in data.files(".parquet")}
    if lost := sorted(parts.keys() - found):
        count = f"{len(lost)} of {len(parts)} files"
        raise InputError(f"{data} lacks {count}, such as {lost[0]}: run `mrigen prepare` again")
    if strange := sorted(found - parts.keys()):
        raise InputError(f"{data / strange[0]} is not from `mrigen prepare`: take it away")
    return parts

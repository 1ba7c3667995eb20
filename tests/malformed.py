"""Files that are no usable scan, in every way that we know of: for tests of what refuses them."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

SHAPE = (12, 13, 14)
VOXELS_AT = 352
FAULTS = ("missing", "format", "truncated", "size", "dimensions", "type", "geometry", "voxels")


def write_malformed(folder: Path) -> dict[str, str]:
    """Write the files (`.nii`, `.nii.gz`, `.hdr` with or without `.img`) and tell the class of fault of each by name.

    The classes hold for any limit on size from 32 MB to 1 GB. No two files have the same content.
    """
    kinds = (_dimensions(), _types(), _geometry(), _formats(), _truncated(), _sizes(), _voxels())
    for _, files in kinds:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    faults = {name: fault for fault, files in kinds for name in files}
    return faults | _pairs(folder)


def write_odd_kinds(folder: Path) -> list[str]:
    """Make things that are named like scans but are no files; gives their names. Each counts as missing."""
    os.mkfifo(folder / "fifo.nii.gz")
    (folder / "folder.nii.gz").mkdir()
    (folder / "dangling link.nii.gz").symlink_to("nowhere")
    (folder / "link to itself.nii.gz").symlink_to("link to itself.nii.gz")
    (folder / "link to a fifo.nii.gz").symlink_to("fifo.nii.gz")
    (folder / "fifo of voxels.hdr").write_bytes(analyze_header())
    os.mkfifo(folder / "fifo of voxels.img")
    return sorted(path.name for path in folder.glob("*") if path.suffix != ".img")


def good_array(dtype: Any = np.int16, shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    """Noise."""
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def nifti(array: np.ndarray[Any, Any] | None = None, kind: Any = nibabel.Nifti1Image, **fields: Any) -> bytes:
    """A NIfTI file with `fields` written straight into its header, past nibabel's checks."""
    array = good_array() if array is None else array
    raw = bytearray(kind(array, np.eye(4), dtype=array.dtype).to_bytes())
    dtype = nibabel.nifti1.header_dtype if kind is nibabel.Nifti1Image else nibabel.nifti2.header_dtype
    header = np.ndarray((), dtype, raw)
    for name, value in fields.items():
        header[name] = value
    return bytes(raw)


def packed(content: bytes) -> bytes:
    """Compressed by gzip, the same bytes at any time."""
    return gzip.compress(content, mtime=0)


def analyze_header(shape: tuple[int, ...] = SHAPE, order: str = ">", **fields: Any) -> bytes:
    """The `.hdr` of an Analyze file of int16 in the given byte order."""
    header = nibabel.AnalyzeHeader(endianness=order)
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_zooms([1.0] * len(shape))
    for name, value in fields.items():
        header[name] = value
    return bytes(header.binaryblock)


def _dimensions() -> tuple[str, dict[str, bytes]]:
    def dims(*sizes: int, count: int | None = None) -> bytes:
        padded = [*sizes, *[1] * 7][:7]
        return nifti(dim=[len(sizes) if count is None else count, *padded])

    return "dimensions", {
        "4-D.nii.gz": packed(nifti(good_array(shape=(*SHAPE, 2)))),
        "5-D.nii.gz": packed(nifti(good_array(shape=(*SHAPE, 1, 2)))),
        "2-D.nii": dims(48, 48),
        "1-D.nii": dims(2000),
        "no dimensions.nii": dims(count=0),
        "nine dimensions.nii": dims(*SHAPE, count=9),
        "minus three dimensions.nii": dims(*SHAPE, count=-3),
        "negative dimension.nii": dims(12, -13, 14),
        "two negative dimensions.nii": dims(-12, -13, 14),
        "zero dimension.nii": dims(12, 0, 14),
        "no frames.nii": dims(*SHAPE, 0),
        "minus two frames.nii": dims(*SHAPE, -2),
        "two voxels thick.nii.gz": packed(nifti(good_array(shape=(40, 40, 2)))),
        "one slice.nii.gz": packed(nifti(good_array(shape=(40, 40, 1)))),
        "one voxel.nii.gz": packed(nifti(good_array(shape=(1, 1, 1)))),
        "byte orders mixed.nii": _swapped_but_for_the_size(),
    }


def _swapped_but_for_the_size() -> bytes:
    raw = bytearray(nifti())
    header = np.ndarray((), nibabel.nifti1.header_dtype, raw)
    header[...] = header.copy().byteswap()
    header["sizeof_hdr"] = 348
    return bytes(raw)


def _types() -> tuple[str, dict[str, bytes]]:
    return "type", {
        "rgb.nii": nifti(datatype=128, bitpix=24),
        "rgba.nii": nifti(datatype=2304, bitpix=32),
        "complex64.nii.gz": packed(nifti(good_array(np.complex64))),
        "complex128.nii.gz": packed(nifti(good_array(np.complex128))),
        "datatype 0.nii": nifti(datatype=0, bitpix=0),
        "datatype of bits.nii": nifti(datatype=1, bitpix=1),
        "datatype all.nii": nifti(datatype=255),
        "unknown datatype.nii": nifti(datatype=7777),
        "negative datatype.nii": nifti(datatype=-4),
        "bitpix of another type.nii": nifti(bitpix=32),
        "bitpix 0.nii": nifti(bitpix=0),
    }


def _geometry() -> tuple[str, dict[str, bytes]]:
    def pixdim(length: float) -> bytes:
        return nifti(pixdim=[1, 1, length, 1, 0, 0, 0, 0])

    def qform(**fields: Any) -> bytes:
        return nifti(sform_code=0, qform_code=1, **fields)

    return "geometry", {
        "no orientation.nii": nifti(sform_code=0, qform_code=0),
        "negative codes.nii": nifti(sform_code=-1, qform_code=-1),
        "pixdim 0.nii": pixdim(0),
        "pixdim NaN.nii": pixdim(np.nan),
        "pixdim infinite.nii": pixdim(np.inf),
        "pixdim 0.001.nii": pixdim(0.001),
        "pixdim 1000.nii": pixdim(1000),
        "sform of zeros.nii": nifti(srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4),
        "sform with equal rows.nii": nifti(srow_x=[1, 0, 0, 0], srow_y=[1, 0, 0, 0]),
        "sform with parallel axes.nii": nifti(srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0]),
        "sform NaN.nii": nifti(srow_x=[np.nan, 0, 0, 0]),
        "sform at NaN.nii": nifti(srow_z=[0, 0, 1, np.nan]),
        "sform infinite.nii": nifti(srow_y=[0, np.inf, 0, 0]),
        "sform overflowing.nii": nifti(srow_y=[0, 3e38, 0, 0]),
        "sform of 0.001 mm.nii": nifti(srow_z=[0, 0, 0.001, 0]),
        "sform of 1000 mm.nii": nifti(srow_z=[0, 0, 1000, 0]),
        "sform far away.nii": nifti(srow_x=[1, 0, 0, 1e30]),
        "qform that is no turn.nii": qform(quatern_b=5.0, quatern_c=5.0),
        "qform NaN.nii": qform(quatern_b=np.nan),
        "qform at infinity.nii": qform(qoffset_y=np.inf),
        "qform far away.nii": qform(qoffset_x=-1e20),
    }


def _formats() -> tuple[str, dict[str, bytes]]:
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
    bomb_member = gzip.compress(bytes(1 << 23), mtime=0)
    return "format", {
        "vox_offset 0.nii": nifti(vox_offset=0),
        "vox_offset negative.nii": nifti(vox_offset=-352),
        "vox_offset within the header.nii": nifti(vox_offset=348),
        "vox_offset between bytes.nii": nifti(vox_offset=352.5),
        "vox_offset huge.nii": nifti(vox_offset=1e30),
        "vox_offset NaN.nii": nifti(vox_offset=np.nan),
        "vox_offset huge in NIfTI-2.nii": nifti(kind=nibabel.Nifti2Image, vox_offset=2**62),
        "vox_offset negative in NIfTI-2.nii": nifti(kind=nibabel.Nifti2Image, vox_offset=-(2**63)),
        "sizeof_hdr wrong.nii": nifti(sizeof_hdr=347),
        "sizeof_hdr of the other version.nii": nifti(sizeof_hdr=540),
        "no magic.nii": nifti(magic=b""),
        "wrong magic.nii": nifti(magic=b"abc"),
        "magic of a pair.nii": nifti(magic=b"ni1"),
        "text.nii": b"hello\n" * 100,
        "text.nii.gz": b"not compressed\n" * 100,
        "packed text.nii.gz": packed(b"hello\n" * 100),
        "packed nothing.nii.gz": packed(b""),
        "packed twice.nii.gz": packed(packed(nifti())),
        "not packed.nii.gz": nifti(),
        "picture.nii": png,
        "picture.nii.gz": packed(png),
        "zip.nii.gz": b"PK\x03\x04" + bytes(600),
        "hdf5.nii": b"\x89HDF\r\n\x1a\n" + bytes(600),
        "minc-1.nii": b"CDF\x01" + bytes(600),
        "zeros.nii": bytes(4000),
        "analyze.nii": analyze_header(order="<") + bytes(4 + 2 * 12 * 13 * 14),
        "garbage at the end.nii": nifti() + b"garbage!" * 1000,
        "more planes than claimed.nii.gz": packed(
            nifti(good_array(shape=(12, 13, 40)), dim=[3, 12, 13, 14, 1, 1, 1, 1])
        ),
        "bomb.nii.gz": packed(nifti()) + bomb_member * 64,
        "bomb from the start.nii.gz": bomb_member * 63,
    }


def _truncated() -> tuple[str, dict[str, bytes]]:
    raw, small = nifti(), packed(nifti())
    crc, length = bytearray(small), bytearray(small)
    crc[-8] ^= 1
    length[-4] ^= 1
    stored = bytearray(gzip.compress(raw, compresslevel=0, mtime=0))  # a flip leaves what is stored unpackable
    stored[2000] ^= 1
    cut = {f"cut at {share:.0%}.nii": raw[: int(share * len(raw))] for share in (0.01, 0.3, 0.9)}
    cut |= {f"cut at {share:.0%}.nii.gz": small[: int(share * len(small))] for share in (0.01, 0.1, 0.5, 0.9)}
    return "truncated", cut | {
        "empty.nii": b"",
        "header cut by a byte.nii": raw[:347],
        "header alone.nii": raw[:VOXELS_AT],
        "header alone.nii.gz": packed(raw[:VOXELS_AT]),
        "a byte missing.nii": raw[:-1],
        "a byte missing.nii.gz": small[:-1],
        "packed without a voxel.nii.gz": packed(raw[:-2]),
        "vox_offset beyond the end.nii": nifti(vox_offset=100_000),
        "more claimed than there is.nii": nifti(dim=[3, 200, 200, 190, 1, 1, 1, 1]),
        "frame missing.nii": nifti(good_array(shape=(*SHAPE, 1)), dim=[3, 12, 13, 15, 1, 1, 1, 1]),
        "checksum flipped.nii.gz": bytes(crc),
        "length flipped.nii.gz": bytes(length),
        "voxel flipped.nii.gz": bytes(stored),
        "garbage after gzip.nii.gz": small + b"garbage!" * 10,
        "magic of gzip alone.nii.gz": b"\x1f\x8b",
        "magic of gzip and junk.nii.gz": b"\x1f\x8b" + b"\x99" * 600,
    }


def _sizes() -> tuple[str, dict[str, bytes]]:
    return "size", {
        "gigabyte claimed.nii": nifti(dim=[3, 512, 1024, 1024, 1, 1, 1, 1]),
        "gigabyte claimed.nii.gz": packed(nifti(dim=[3, 1024, 1024, 513, 1, 1, 1, 1])),
        "65 terabytes claimed.nii.gz": packed(nifti(dim=[3, 32000, 32000, 32000, 1, 1, 1, 1])),
        "exabytes claimed in NIfTI-2.nii": nifti(kind=nibabel.Nifti2Image, dim=[3, 2**40, 2**40, 2**40, 1, 1, 1, 1]),
        "terabyte of doubles claimed.nii": nifti(datatype=64, bitpix=64, dim=[3, 5000, 5000, 5000, 1, 1, 1, 1]),
    }


def _voxels() -> tuple[str, dict[str, bytes]]:
    def one(value: Any, dtype: Any = np.float32) -> bytes:
        array = good_array(dtype)
        array[3, 4, 5] = value
        return packed(nifti(array))

    return "voxels", {
        "NaN voxel.nii.gz": one(np.nan),
        "infinite voxel.nii.gz": one(np.inf),
        "minus infinite voxel.nii.gz": one(-np.inf),
        "NaN double.nii.gz": one(np.nan, np.float64),
        "NaN voxels.nii.gz": packed(nifti(np.full(SHAPE, np.nan, np.float32))),
        "zero voxels.nii.gz": packed(nifti(np.zeros(SHAPE, np.int16))),
        "equal voxels.nii.gz": packed(nifti(np.full(SHAPE, 7, np.int16))),
        "large and zero.nii.gz": packed(nifti(np.zeros((190, 190, 190), np.uint8))),
        "nearly equal voxels.nii.gz": packed(nifti(good_array(np.float32) * np.float32(1e-44))),
        "double beyond float32.nii.gz": one(1e300, np.float64),
        "voxel of 3e38.nii.gz": one(3e38),
        "int64 beyond float32.nii.gz": one(2**40 + 1, np.int64),
        "int64 at its least.nii.gz": one(-(2**63), np.int64),
        "uint64 beyond float32.nii.gz": one(2**63 + 1, np.uint64),
        "slope NaN.nii": nifti(scl_slope=np.nan),
        "slope infinite.nii": nifti(scl_slope=np.inf),
        "slope overflowing.nii": nifti(scl_slope=3e38),
        "slope vanishing.nii": nifti(scl_slope=1e-40, scl_inter=5.0),
        "intercept NaN.nii": nifti(scl_slope=1.0, scl_inter=np.nan),
        "intercept infinite.nii": nifti(scl_slope=2.0, scl_inter=-np.inf),
    }


def _pairs(folder: Path) -> dict[str, str]:
    """Headers whose voxels are, or should be, in another file."""
    whole = good_array(">i2").tobytes(order="F")
    ni1 = nifti(magic=b"ni1", vox_offset=0)[:348]
    pairs: dict[str, tuple[str, bytes, dict[str, bytes]]] = {
        "analyze without voxels": ("missing", analyze_header(), {}),
        "pair without voxels": ("missing", ni1, {}),
        "analyze cut": ("truncated", analyze_header(descrip=b"1"), {".img": whole[:-10]}),
        "analyze cut in gzip": ("truncated", analyze_header(descrip=b"2"), {".img.gz": packed(whole)[:-10]}),
        "analyze with an empty image": ("truncated", analyze_header(descrip=b"3"), {".img": b""}),
        "pair cut": ("truncated", ni1 + bytes(4), {".img": whole[:100]}),
        "analyze with too much": ("format", analyze_header(descrip=b"4"), {".img": whole * 2}),
        "analyze of another shape": ("format", analyze_header((12, 13, 8)), {".img": whole * 2}),
        "analyze not packed": ("format", analyze_header(descrip=b"5"), {".img.gz": whole}),
        "single file": ("format", nifti(descrip=b"single"), {}),
        "text": ("format", b"ENVI\nsamples = 12\n" * 40, {}),
        "NIfTI-2 without magic": ("format", nifti(kind=nibabel.Nifti2Image, magic=b"")[:540], {".img": whole}),
        "analyze offset": ("format", analyze_header(vox_offset=-8), {".img": whole}),
        "analyze spacing": ("geometry", analyze_header(pixdim=[0, 1, 0, 1, 0, 0, 0, 0]), {".img": whole}),
        "analyze of zeros": ("voxels", analyze_header(descrip=b"6"), {".img": bytes(len(whole))}),
        "analyze of colours": ("type", analyze_header(datatype=128, bitpix=24), {".img": whole}),
        "analyze of terabytes": ("size", analyze_header((30000, 30000, 30000)), {".img": whole}),
        "analyze 4-D": ("dimensions", analyze_header((*SHAPE, 2)), {".img": whole * 2}),
    }
    for name, (_, header, images) in pairs.items():
        (folder / f"{name}.hdr").write_bytes(header)
        for suffix, content in images.items():
            (folder / f"{name}{suffix}").write_bytes(content)
    return {f"{name}.hdr": fault for name, (fault, _, _) in pairs.items()}

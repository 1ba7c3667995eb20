"""No file that is no scan gets through, crashes, or takes much memory: every one that `tests.malformed` knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mrigen.volume import VolumeError, read_header, read_volume
from tests.malformed import FAULTS, good_array, nifti, packed, write_malformed, write_odd_kinds

MAX_BYTES = 32 << 20

WORDS = {
    "4-D.nii.gz": "split it, or name a frame",
    "5-D.nii.gz": "5-D of shape (12, 13, 14, 1, 2): a scan must be 3-D",
    "2-D.nii": "2-D",
    "no dimensions.nii": "0 dimensions",
    "nine dimensions.nii": "9 dimensions",
    "negative dimension.nii": "-13",
    "no frames.nii": "0 frames",
    "two voxels thick.nii.gz": "shape (40, 40, 2): each axis needs at least 8 voxels",
    "rgb.nii": "voxels are colours",
    "complex64.nii.gz": "voxels are complex numbers",
    "datatype 0.nii": "datatype 0",
    "unknown datatype.nii": "unknown datatype 7777",
    "bitpix of another type.nii": "datatype 4 (int16) but bitpix 32",
    "no orientation.nii": "sform_code and qform_code are 0",
    "pixdim NaN.nii": "voxels of 1 x nan x 1 mm by its pixdim: expected 0.05 to 20",
    "sform with parallel axes.nii": "singular sform: its axes do not span space",
    "sform NaN.nii": "non-finite sform",
    "sform of 1000 mm.nii": "voxels of 1 x 1 x 1000 mm by its sform",
    "sform far away.nii": "its first voxel lies at 1e+30 0 0 mm",
    "qform that is no turn.nii": "unusable qform",
    "vox_offset 0.nii": "vox_offset 0 in the header is not a place for voxels",
    "magic of a pair.nii": "header of a .hdr/.img pair: name it .hdr",
    "text.nii": "not a NIfTI file",
    "not packed.nii.gz": "named .gz but not compressed by gzip",
    "bomb.nii.gz": "more data than its header claims",
    "empty.nii": "empty file",
    "header cut by a byte.nii": "truncated: 347 of 348 bytes of its header",
    "a byte missing.nii": "truncated: 1 bytes or more are missing",
    "a byte missing.nii.gz": "the compressed data end too early",
    "checksum flipped.nii.gz": "damaged: CRC check failed",
    "gigabyte claimed.nii": "2048 MB of voxels by its header, over the limit of 32 MB",
    "NaN voxel.nii.gz": "NaN or infinite voxels",
    "zero voxels.nii.gz": "every voxel is 0",
    "voxel of 3e38.nii.gz": "intensities beyond 1e+18",
    "int64 beyond float32.nii.gz": "64-bit integers from 0 to 1099511627777: float32 holds them exactly up to 16777216",
    "slope NaN.nii": "scl_slope nan",
    "analyze without voxels.hdr": "no analyze without voxels.img or analyze without voxels.img.gz beside it",
    "single file.hdr": "header and voxels in one file: name it .nii",
    "NIfTI-2 without magic.hdr": "not a NIfTI or Analyze header",
    "fifo.nii.gz": "not a regular file",
    "folder.nii.gz": "a folder",
    "dangling link.nii.gz": "No such file",
    "link to itself.nii.gz": "symbolic link",
}


@pytest.fixture(scope="module")
def malformed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("malformed")
    return folder, write_malformed(folder) | dict.fromkeys(write_odd_kinds_in(folder), "missing")


def write_odd_kinds_in(folder: Path) -> list[str]:
    odd = folder / "odd"
    odd.mkdir()
    return [f"odd/{name}" for name in write_odd_kinds(odd)]


def test_each_file_is_refused_for_the_right_reason_in_one_line(malformed: tuple[Path, dict[str, str]]) -> None:
    folder, faults = malformed
    assert len(faults) >= 60
    assert set(faults.values()) == set(FAULTS)
    told = {}
    for name, fault in faults.items():
        for max_bytes in (MAX_BYTES, 1 << 30):
            with pytest.raises(VolumeError) as caught:
                read_volume(folder / name, max_bytes=max_bytes)
            message = str(caught.value)
            assert (name, caught.value.fault) == (name, fault)
            assert message.startswith(str((folder / name).with_suffix("")))
            assert "\n" not in message
            told.setdefault(Path(name).name, message)
    for name, words in WORDS.items():
        assert words in told[name]


def test_a_header_alone_tells_the_faults_of_a_header(malformed: tuple[Path, dict[str, str]]) -> None:
    folder, faults = malformed
    found = {name: fault_of_header(folder / name) for name in faults}
    assert all(faults[name] == fault for name, fault in found.items() if fault)
    unseen = {faults[name] for name, fault in found.items() if not fault}
    assert unseen == {"truncated", "format", "voxels", "missing"}
    assert sum(map(bool, found.values())) > len(faults) / 2


def fault_of_header(path: Path) -> str:
    try:
        read_header(path, max_bytes=MAX_BYTES)
    except VolumeError as error:
        return error.fault
    return ""


def test_what_the_malformed_files_are_made_of_is_good(tmp_path: Path) -> None:
    for name, content in (("a.nii", nifti()), ("a.nii.gz", packed(nifti(good_array("float32"))))):
        (tmp_path / name).write_bytes(content)
        assert read_volume(tmp_path / name).array.shape == (12, 13, 14)


def test_the_files_are_small_and_no_two_are_the_same(malformed: tuple[Path, dict[str, str]]) -> None:
    folder, faults = malformed
    contents = [(folder / name).read_bytes() for name in faults if not name.startswith("odd/")]
    assert len(set(contents)) == len(contents)
    assert sum(map(len, contents)) < 5 << 20


MEASURE = """
import sys
from pathlib import Path
from mrigen.volume import VolumeError, read_volume

def peak_mb():  # ru_maxrss will not do: a process begins with that of the one that started it
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

before = peak_mb()
for path in sorted(Path(sys.argv[1]).rglob("*")):
    try:
        read_volume(path, max_bytes=32 << 20)
    except VolumeError:
        continue
    sys.exit(f"{path} was read")
print(peak_mb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux tells it")
def test_no_malformed_file_takes_more_memory_than_the_limit(malformed: tuple[Path, dict[str, str]]) -> None:
    folder, _ = malformed
    done = subprocess.run([sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 48


def test_a_name_with_a_nul_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="null") as caught:
        read_volume(tmp_path / "a\0.nii")
    assert caught.value.fault == "missing"


def test_names_may_have_spaces_and_any_letters(tmp_path: Path) -> None:
    path = tmp_path / "tête à tête 脳.nii.gz"
    path.write_bytes(packed(nifti()))
    assert read_volume(path).array.shape == (12, 13, 14)

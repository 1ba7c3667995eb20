"""No file that is no scan gets through, crashes, or takes much memory: every one that `tests.malformed` knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mrigen.volume import VolumeError, read_header, read_volume
from tests.malformed import FAULTS, good_array, nifti, packed, write_malformed, write_odd_kinds

MAX_BYTES = 32 << 20


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
    for name, fault in faults.items():
        for max_bytes in (MAX_BYTES, 1 << 30):
            with pytest.raises(VolumeError) as caught:
                read_volume(folder / name, max_bytes=max_bytes)
            message = str(caught.value)
            assert (name, caught.value.fault) == (name, fault)
            assert message.startswith(str((folder / name).with_suffix("")))
            assert "\n" not in message


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

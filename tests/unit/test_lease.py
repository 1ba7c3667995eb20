"""Who works in a folder: a second driver is refused, a dead one's lease is taken over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from mrigen.errors import InputError
from mrigen.process import lease
from mrigen.process.lease import leased
from mrigen.storage import Location


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A folder that is not there yet, and one on a filesystem that is no local disk."""
    if request.param == "disk":
        return Location.parse(tmp_path / "run")
    store = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    store.create_dir("run")
    return Location(store, "run")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    monkeypatch.setattr(lease, "SILENCE_S", 1.0)


def leave(folder: Location, **told: object) -> Location:
    """A lease as another driver left it."""
    file = folder / ".lease-other.tmp"
    file.write_json({"user": "ann", "host": "far", "pid": 7, "started": time.time() - 725, "machine": "far", **told})
    return file


def test_a_second_driver_is_refused_by_the_name_of_the_first_and_nothing_is_left(folder, tmp_path):
    with leased(folder):
        assert folder.files() == []  # who reads the folder does not see it
        with pytest.raises(InputError) as error, leased(folder):
            pass
    told = str(error.value)
    assert told.startswith(f"{folder} is in use by ")
    assert f"(process {os.getpid()}), started 0:" in told
    assert told.endswith(" ago: wait until it ends, or stop it")
    assert os.listdir(tmp_path / "run") == []


def test_the_lease_of_a_process_that_is_gone_is_taken_over_at_once(folder, caplog):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    left = leave(folder, machine=lease.this_machine(), pid=done.pid)
    (folder / f".{left.name}.1234.tmp").write_bytes(b"{")  # it was killed as it wrote its lease anew
    began = time.monotonic()
    with leased(folder):
        assert time.monotonic() - began < 5
        assert len(folder.filesystem.get_file_info(pafs.FileSelector(folder.path))) == 1
    assert caplog.messages == [f"{folder}: taken over from ann on far (process {done.pid}), which is gone"]


def test_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it(folder, quick, caplog):
    leave(folder, machine=lease.this_machine(), pid=os.getpid())
    with leased(folder):
        assert caplog.messages[-1].endswith("which is gone")


def test_another_machines_driver_is_dead_once_it_has_been_silent(folder, quick, caplog):
    leave(folder)
    with leased(folder):
        pass
    assert caplog.messages == [
        f"{folder}: waiting for a sign of life of ann on far (process 7)",
        f"{folder}: taken over from ann on far (process 7), which is gone",
    ]


def test_another_machines_driver_that_gives_a_sign_of_life_is_named_with_its_age(folder, monkeypatch):
    monkeypatch.setattr(lease, "SILENCE_S", 60.0)
    file = leave(folder)
    beat = threading.Timer(0.5, lambda: file.write_json(json.loads(file.read_bytes()) | {"beat": 1}))
    beat.start()
    with pytest.raises(InputError) as error, leased(folder):
        pass
    assert str(error.value).startswith(f"{folder} is in use by ann on far (process 7), started 0:12:0")
    assert file.is_file()


@pytest.fixture
def interrupts():
    """Ctrl-C interrupts, also where the tests are run in the background of a script, in which it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_who_was_taken_for_dead_stops(folder, quick, interrupts):
    def work() -> None:
        with leased(folder):
            [name] = lease.leases_in(folder)
            (folder / name).delete()
            time.sleep(30)

    began = time.monotonic()
    with pytest.raises(InputError, match="another driver took over, since this one was not heard of"):
        work()
    assert time.monotonic() - began < 10


def test_a_lease_lives_on_by_its_beats(folder, quick):
    with leased(folder):
        [name] = lease.leases_in(folder)
        first = (folder / name).read_bytes()
        time.sleep(0.5)
        assert (folder / name).read_bytes() != first


def test_warnings_are_seen_without_logging_set_up(tmp_path):
    leave(Location.parse(tmp_path), machine=lease.this_machine(), pid=2**22 + 1)
    code = "from mrigen.process.lease import *\nwith leased(Location.parse(sys.argv[1])): pass"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stderr == f"{tmp_path}: taken over from ann on far (process {2**22 + 1}), which is gone\n"

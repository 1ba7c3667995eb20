"""`EachOnRay` keeps what `Each` promises: all the work, one load a worker, and faults as what they are."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import cloudpickle

from jobs.each_on_ray import EachOnRay, Worker
from jobs.placement import Placement
from mrigen.each import Tally
from mrigen.errors import InputError, Stopped

pytestmark = pytest.mark.ray

CHECKOUT = Path(__file__).parents[2]
EACH = EachOnRay(Placement(num_workers=2))


def results(
    work: Callable[..., Any], count: int, load: Callable[[], Any] | None = None, each: EachOnRay = EACH
) -> dict[int, Any]:
    """Place -> result; a place that came twice is an error."""
    found: dict[int, Any] = {}
    for place, result in each(work, range(count), "test", load):
        assert place not in found
        found[place] = result
    return found


def test_every_item_is_done_once_and_told_with_its_place(ray_cluster: None) -> None:
    assert results(lambda item: (item * item, torch.get_num_threads()), 5) == {k: (k * k, 1) for k in range(5)}
    assert results(lambda item: item, 0) == {}


def test_what_is_counted_may_be_other_than_items(ray_cluster: None, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally(60, lambda result: (10, {"rejected": result}))
    assert len(dict(EACH(lambda item: item % 2, range(6), "test", None, tally))) == 6
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"test: 60/60  \d+ s  [\d.e+]+ a second  3 rejected", last)


def test_more_items_than_blocks_are_done_several_at_a_time(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.each_on_ray.MAX_BLOCKS", 3)  # two workers have 32, so of 70 items three go together
    found = results(lambda item: (item, os.getpid()), 70)
    assert [item for item, _ in dict(sorted(found.items())).values()] == list(range(70))
    assert all(found[k][1] == found[k + 1][1] == found[k + 2][1] for k in range(0, 69, 3))


def test_a_worker_loads_once_whatever_the_number_of_items(ray_cluster: None, tmp_path: Path) -> None:
    def load() -> int:
        (tmp_path / str(os.getpid())).open("x").close()  # a second time, this fails
        return os.getpid()

    growing = EachOnRay(Placement(num_workers=2, least_workers=1))
    found = results(lambda shared, item: (shared, os.getpid(), item), 6, load, growing)
    assert sorted(item for _, _, item in found.values()) == list(range(6))
    assert all(loaded_in == done_in for loaded_in, done_in, _ in found.values())


def test_a_result_is_there_before_the_next_one_is(ray_cluster: None, tmp_path: Path) -> None:
    def work(item: int) -> bool:
        seen, since = tmp_path / "seen", time.monotonic()
        while item and not seen.exists() and time.monotonic() < since + 20:
            time.sleep(0.05)
        return seen.exists()

    found = {}
    for place, result in EachOnRay(Placement(num_workers=1))(work, range(2), "test"):
        found[place] = result
        (tmp_path / "seen").touch()
    assert found == {0: False, 1: True}


def test_the_first_fault_is_raised_as_itself(ray_cluster: None) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left", "/x")

    with pytest.raises(OSError, match="No space left") as found:
        results(fail, 3)
    assert (type(found.value), found.value.errno, found.value.filename) == (OSError, 28, "/x")


def test_a_fault_of_what_is_loaded_is_that_of_the_first_item(ray_cluster: None) -> None:
    def fail() -> None:
        raise InputError("part-00000.parquet is damaged")

    rows = Worker(lambda shared, item: item, fail, b"none")({"place": 4, "items": cloudpickle.dumps([1, 2])})
    assert [(row["place"], row["result"], str(cloudpickle.loads(row["fault"]))) for row in rows] == [
        (4, None, "part-00000.parquet is damaged")
    ]


def interrupted(times: int, tmp_path: Path) -> list[int]:
    """The items whose results came, of 40; Ctrl-C is pressed at the first and, for the second time, at once."""
    came: list[int] = []

    def work(item: int) -> int:
        time.sleep(0.3)
        (tmp_path / str(item)).touch()
        return item

    for _, item in EACH(work, range(40), "test"):
        came.append(item)
        if len(came) == 1:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
    return came


def test_what_is_in_hand_is_ended_at_the_first_ctrl_c_and_not_at_a_second(
    ray_cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Stopped, match=r"^test: stopped after \d+ of 40: the same command goes on from there$") as told:
        interrupted(1, tmp_path)
    assert str(told.value).split()[3] == str(len(list(tmp_path.iterdir())))  # what was begun is told
    assert len(list(tmp_path.iterdir())) < 20
    assert "stopping once the work in hand is done; another Ctrl-C leaves at once" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        interrupted(2, tmp_path)


@pytest.mark.slow
def test_workers_take_no_package_from_the_working_folder(tmp_path: Path) -> None:
    for name in ("mrigen", "jobs"):
        (tmp_path / "here" / name).mkdir(parents=True)
        (tmp_path / "here" / name / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    script = tmp_path / "mrigen-script.py"
    script.write_text("from jobs.cli import main\nmain()\n")
    done = subprocess.run(
        [sys.executable, script, "phantom", "out", "--subjects", "1", "--spacing-mm", "8", "--num-workers", "1"],
        cwd=tmp_path / "here",
        env=os.environ | {"PYTHONPATH": str(CHECKOUT), "RAY_ADDRESS": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here/out/participants.tsv").is_file()

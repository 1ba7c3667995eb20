"""`EachOnRay` keeps what `Each` promises: all the work, one load a worker, and faults as what they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import cloudpickle

from jobs.each_on_ray import EachOnRay, Worker
from jobs.placement import Placement
from mrigen.errors import InputError

pytestmark = pytest.mark.ray

CHECKOUT = Path(__file__).parents[2]
EACH = EachOnRay(Placement(num_workers=2))


def results(work: Callable[..., Any], count: int, load: Callable[[], Any] | None = None) -> dict[int, Any]:
    """Place -> result; a place that came twice is an error."""
    found: dict[int, Any] = {}
    for place, result in EACH(work, range(count), "test", load):
        assert place not in found
        found[place] = result
    return found


def test_every_item_is_done_once_and_told_with_its_place(ray_cluster: None) -> None:
    assert results(lambda item: (item * item, torch.get_num_threads()), 5) == {k: (k * k, 1) for k in range(5)}
    assert results(lambda item: item, 0) == {}


def test_more_items_than_blocks_are_done_several_at_a_time(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.each_on_ray.MAX_BLOCKS", 3)  # two workers have 32, so of 70 items three go together
    found = results(lambda item: (item, os.getpid()), 70)
    assert [item for item, _ in dict(sorted(found.items())).values()] == list(range(70))
    assert all(found[k][1] == found[k + 1][1] == found[k + 2][1] for k in range(0, 69, 3))


def test_a_worker_loads_once_whatever_the_number_of_items(ray_cluster: None, tmp_path: Path) -> None:
    def load() -> int:
        (tmp_path / str(os.getpid())).open("x").close()  # a second time, this fails
        return os.getpid()

    found = results(lambda shared, item: (shared, os.getpid(), item), 6, load)
    assert sorted(item for _, _, item in found.values()) == list(range(6))
    assert all(loaded_in == done_in for loaded_in, done_in, _ in found.values())


def test_the_first_fault_is_raised_as_itself(ray_cluster: None) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left", "/x")

    with pytest.raises(OSError, match="No space left") as found:
        results(fail, 3)
    assert (type(found.value), found.value.errno, found.value.filename) == (OSError, 28, "/x")


def test_a_fault_of_what_is_loaded_is_that_of_the_first_item(ray_cluster: None) -> None:
    def fail() -> None:
        raise InputError("part-00000.parquet is damaged")

    rows = Worker(lambda shared, item: item, fail)({"place": 4, "items": cloudpickle.dumps([1, 2])})
    assert [(row["place"], row["result"], str(cloudpickle.loads(row["fault"]))) for row in rows] == [
        (4, None, "part-00000.parquet is damaged")
    ]


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

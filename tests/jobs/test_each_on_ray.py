"""`EachOnRay` keeps what `mrigen.each.Each` promises, with workers in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.each_on_ray import EachOnRay
from jobs.placement import Placement
from mrigen.errors import InputError

pytestmark = pytest.mark.ray

CHECKOUT = Path(__file__).parents[2]


def test_every_result_comes_once_with_its_place(ray_cluster: None) -> None:
    def threads_and_square(item: int) -> tuple[int, int]:
        import torch

        return torch.get_num_threads(), item * item

    results = list(EachOnRay(Placement(2))(threads_and_square, range(7), "test"))
    assert sorted(results) == [(place, (1, place * place)) for place in range(7)]
    assert not list(EachOnRay(Placement(2))(threads_and_square, [], "test"))


def test_what_is_shared_is_loaded_once_a_worker(ray_cluster: None, tmp_path: Path) -> None:
    def load() -> int:
        (tmp_path / f"{os.getpid()}-{len(os.listdir(tmp_path))}").touch()
        return 10

    results = dict(EachOnRay(Placement(2))(lambda shared, item: shared * item, range(8), "test", load))
    assert results == {place: 10 * place for place in range(8)}
    loads = [name.split("-")[0] for name in os.listdir(tmp_path)]
    assert 1 <= len(loads) <= 2
    assert len(set(loads)) == len(loads)


@pytest.mark.parametrize("at_start", [True, False, None])
@pytest.mark.parametrize("error", [InputError("part-00000.parquet is damaged"), OSError(28, "No space left", "/x")])
def test_a_fault_is_raised_as_it_was(ray_cluster: None, error: Exception, at_start: bool | None) -> None:
    """At the start of a worker, in the work with what was loaded, or in work that loads nothing (None)."""

    def fail(*given: Any) -> None:
        if at_start or given[-1] == 1:
            raise error

    load: Callable[[], Any] | None = None if at_start is None else (fail if at_start else int)
    with pytest.raises(type(error)) as found:
        list(EachOnRay(Placement(2))(fail, range(3), "test", load))
    assert (type(found.value), str(found.value)) == (type(error), str(error))


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

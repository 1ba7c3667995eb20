"""The library stands alone: it imports, trains and samples where Ray is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mrigen.cohort.order import CohortOrder
from mrigen.each import one_by_one
from mrigen.stages.generate import generate_run
from mrigen.storage import Location

PROGRAM = """
import sys
sys.modules["ray"] = None  # any import of ray now raises ImportError
import importlib, pkgutil
import mrigen
modules = pkgutil.walk_packages(mrigen.__path__, "mrigen.")
names = [module.name for module in modules if not module.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
assert not [name for name in sys.modules if name.startswith("ray.")]
print(len(names))
"""


@pytest.mark.slow  # the rules of import-linter say the same of all that is imported by name
def test_every_module_of_the_library_imports_without_ray() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15


def test_importing_the_library_is_light() -> None:
    program = "import sys, mrigen; print([name for name in ('torch', 'ray', 'diffusers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=250, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_helps_without_torch_or_ray() -> None:
    program = (
        "import sys\nsys.modules['ray'] = sys.modules['torch'] = None\nfrom jobs.cli import main\nmain(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert "generate" in done.stdout


DRIVER = """
import sys
sys.modules["torch"] = sys.modules["diffusers"] = None
import jobs.showing
from mrigen.cohort.order import CohortOrder
from mrigen.cohort.shard import ShardReport
from mrigen.each import OneByOne
from mrigen.stages.generate import generate_run
from mrigen.storage import Location

class Elsewhere(OneByOne):
    def __call__(self, work, items, *others):
        yield from ((item, ShardReport(1, {}, [])) for item in items)

out, model = map(Location.parse, sys.argv[1:])
jobs.showing.print_cohort(generate_run(out, model, Elsewhere(), CohortOrder("HC:T1=1", redraws=0)), out)
"""


def test_the_driver_of_a_generation_waits_for_no_torch(tiny_run: Path, tmp_path: Path) -> None:
    """Which workers load: its import is the longest part of a start."""
    out, model = Location.parse(tmp_path), Location.parse(tiny_run / "model")
    generate_run(out, model, one_by_one, CohortOrder("HC:T1=1", redraws=0))
    for name in ("_SUCCESS.json", "index.html"):
        (tmp_path / name).unlink()
    program = [sys.executable, "-c", DRIVER, str(tmp_path), str(tiny_run / "model")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 synthetic images" in done.stdout
    assert (tmp_path / "index.html").is_file()

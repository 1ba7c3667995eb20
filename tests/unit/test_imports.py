"""The library stands alone: it imports, trains and samples where Ray is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

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

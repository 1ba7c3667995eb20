"""The wheel that the tree builds: complete, and able to run without the tree."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wheel_in_a_fresh_environment_runs_the_demo_in_an_empty_folder(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("mrigen", "jobs"):
        shutil.copytree(CHECKOUT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, tree)
    sources = {path.relative_to(tree).as_posix() for name in ("mrigen", "jobs") for path in (tree / name).rglob("*.*")}
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, tree, cwd=tmp_path)
    (wheel,) = tmp_path.glob("mrigen-*.whl")
    assert sources <= set(zipfile.ZipFile(wheel).namelist())

    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=tmp_path)
    # The packages that are installed here but for mrigen: of a folder named in a .pth file, its own such files, by one
    # of which the tree is found, do not count.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    empty = tmp_path / "empty"
    empty.mkdir()
    where = run(python, "-c", "import mrigen; print(mrigen.__file__)", cwd=empty)
    assert Path(where.strip()).is_relative_to(environment)
    run(environment / "bin" / "mrigen", "demo", "--out", "demo", "--per-cell", "1", cwd=empty)
    assert len(list(empty.glob("demo/sub-*/anat/*.nii.gz"))) == 20
    assert {"index.html", "contact_sheet.png", "_SUCCESS.json"} <= {path.name for path in empty.glob("demo/*")}

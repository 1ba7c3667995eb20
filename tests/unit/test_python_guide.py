"""The guide "The whole chain from Python": its code, run as it is printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_chain_runs_as_printed_and_never_imports_ray(tmp_path: Path) -> None:
    lines = (ROOT / "docs/guides/python.md").read_text(encoding="utf-8").splitlines()
    code = "\n".join(line[4:] for line in lines if line.startswith("    "))
    code += "\nimport sys\nassert 'ray' not in sys.modules\n"
    path = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/mine"
    for result in ("model/SHA256SUMS", "samples/_SUCCESS.json", "report/metrics.json", "audit/audit.json"):
        assert (run / result).is_file(), result

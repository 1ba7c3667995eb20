"""How long the verbs that judge take on this machine: seconds of each command, from start to end.

    python docs/benchmarks/evaluate_time.py FOLDER [--subjects 400] [--per-cell 200]

Makes in FOLDER, with the embedded model, a phantom cohort, its prepared data and samples of all 20 cells, unless
they are there. Then times `evaluate` with the default extractors twice: first with nothing in RUN/.cache, then with
what the first left there; and `ablate`, `usefulness` and `audit`. What an earlier call cached is deleted first.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mrigen


def seconds(*command: str) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "jobs.cli", *command], capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1: the audit found something
        sys.exit(done.stderr)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subjects", type=int, default=400)
    parser.add_argument("--per-cell", type=int, default=200)
    args = parser.parse_args()
    run = args.folder / "run"
    if not (run / "samples" / "_SUCCESS.json").exists():
        seconds("phantom", str(args.folder / "cohort"), "--subjects", str(args.subjects), "--seed", "0")
        seconds("prepare", str(args.folder / "cohort"), str(run))
        shutil.copytree(Path(mrigen.__file__).parent / "embedded" / "model", run / "model", dirs_exist_ok=True)
        per_cell = str(args.per_cell)
        seconds("generate", "--out", str(run / "samples"), "--per-cell", per_cell, "--allow-untrained")
    shutil.rmtree(run / ".cache", ignore_errors=True)
    print(f"{'evaluate':<28} {seconds('evaluate', str(run)):6.0f} s", flush=True)
    print(f"{'evaluate, real images known':<28} {seconds('evaluate', str(run)):6.0f} s", flush=True)
    for verb in ("ablate", "usefulness", "audit"):
        print(f"{verb:<28} {seconds(verb, str(run)):6.0f} s", flush=True)


if __name__ == "__main__":
    main()

"""A training that is killed at random, over and over, against one left alone: their model folders.

    python docs/benchmarks/training_kills.py [--kills 20] [--seed 0] [--steps 100]

`python -m mrigen.training` by the preset `tiny`: autoencoder, encoding and denoiser on eight phantom subjects, a
checkpoint every ten steps. Each kill is a SIGKILL, up to a second after a share of all steps that was drawn is told in
the journals; the same command is started again at once. Prints when each kill came, and fails unless the `SHA256SUMS`
of the two models, which hold the hashes of all their files, are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

MOST_DELAY_S = 1.0
STAGES = {"vae": "autoencoder", "ldm": "denoiser"}
FORKS = multiprocessing.get_context("forkserver")


def train(run: Path, num_steps: int) -> None:
    """What a driver does."""
    from mrigen.training.__main__ import command

    values = {"num_steps": num_steps, "checkpoint_every": 10, "log_every": 1, "preview_every": 50}
    settings = [f"{stage}.training.{name}={value}" for stage in STAGES.values() for name, value in values.items()]
    data = [] if (run / "data").exists() else ["--phantom", "8"]
    overrides = [part for setting in settings for part in ("--set", setting)]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        command.main([str(run), "--preset", "tiny", "--samples", "0", *data, *overrides], standalone_mode=False)


def started(run: Path, num_steps: int) -> multiprocessing.context.ForkServerProcess:
    driver = FORKS.Process(target=train, args=(run, num_steps))
    driver.start()
    return driver


def require_done(driver: multiprocessing.context.ForkServerProcess) -> None:
    driver.join()
    if driver.exitcode:
        raise SystemExit(f"it ended by itself, with status {driver.exitcode}")


def steps_done(run: Path) -> dict[str, int]:
    """The last step of each stage's journal."""
    journals = {stage: run / stage / "journal.jsonl" for stage in STAGES}
    lines = {stage: file.read_bytes().splitlines(keepends=True) for stage, file in journals.items() if file.is_file()}
    whole = {stage: [line for line in some if line.endswith(b"\n")] for stage, some in lines.items()}
    return {stage: json.loads(some[-1])["step"] for stage, some in whole.items() if some}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="mrigen-") as name:
        scratch = Path(name)
        (scratch / "tmp").mkdir()
        os.environ.update(TMPDIR=str(scratch / "tmp"), OMP_NUM_THREADS="1")  # who is killed leaves its scratch files
        FORKS.set_forkserver_preload(["mrigen.training.vae", "mrigen.training.ldm", "mrigen.stages.generate"])
        alone, disturbed = scratch / "alone", scratch / "disturbed"
        require_done(started(alone, arguments.steps))
        shutil.copytree(alone / "data", disturbed / "data")
        driver = started(disturbed, arguments.steps)
        shares = sorted(chance.uniform(0.0, 1.0) for _ in range(arguments.kills))
        for number, share in enumerate(shares, start=1):
            while sum(steps_done(disturbed).values()) < share * 2 * arguments.steps and driver.is_alive():
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, MOST_DELAY_S))
            if not driver.is_alive():
                raise SystemExit(f"it ended by itself, with status {driver.exitcode}: give it more --steps")
            driver.kill()
            driver.join()
            told = ", ".join(f"{stage} {step}" for stage, step in steps_done(disturbed).items())
            kept = ", ".join(sorted(file.parent.name for file in disturbed.glob("*/checkpoints/*/COMPLETE.json")))
            print(f"kill {number}: at step {told or 'none'}; checkpoints: {kept or 'none'}", flush=True)
            driver = started(disturbed, arguments.steps)
        require_done(driver)
        sums = [(run / "model/SHA256SUMS").read_bytes() for run in (alone, disturbed)]
        print(
            f"model folders of {len(sums[0].splitlines())} files: {'the same' if sums[0] == sums[1] else 'they differ'}"
        )
        left = [str(path.relative_to(disturbed)) for path in disturbed.rglob(".*.tmp")]
        print(f"temporary files left over in the run: {len(left)}", *left)
    raise SystemExit(sums[0] != sums[1])


if __name__ == "__main__":
    main()

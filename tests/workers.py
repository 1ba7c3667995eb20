"""Training in several workers without Ray: processes of one thread that sum their gradients by gloo."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from mrigen.errors import Stopped

STEPS = [f"{part}.training.{name}" for part in ("autoencoder", "denoiser") for name in ("num_steps=10", "log_every=1")]


def train_in_groups(groups: list[list[str]]) -> None:
    """Of each (folder, number of workers, settings ...) train both stages, every worker a fork of this process, which
    must not have computed gradients."""
    for number, (folder, world, *settings) in enumerate(groups):
        torch.multiprocessing.start_processes(
            train_worker, (int(world), folder, settings, f"{folder}/group-{number}"), int(world), start_method="fork"
        )


def train_worker(rank: int, world: int, folder: str, settings: list[str], store: str) -> None:
    from mrigen.each import one_by_one
    from mrigen.stages.encode import encode_run
    from mrigen.storage import Location
    from mrigen.training.accelerator import make_accelerator
    from mrigen.training.fine_tuning import begun_from, bring
    from mrigen.training.ldm import train_denoiser
    from mrigen.training.vae import train_autoencoder
    from tests.fake_run import tiny_config

    torch.set_num_threads(1)
    stops = [int(setting.removeprefix("stop=")) for setting in settings if setting.startswith("stop=")]
    settings = [setting for setting in settings if not setting.startswith("stop=")]
    if world > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}
        os.environ.update({name: str(value) for name, value in names.items()})  # as Ray Train has them
        torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world)
    config, run = tiny_config(*STEPS, *settings), Location.parse(folder)
    accelerator = make_accelerator(config)
    train_autoencoder(config, run, accelerator, lambda step, values: None)
    if rank == 0:
        encode_run(run, config, one_by_one)
    if (start := run / "other").is_folder():
        config = begun_from(str(start), config, "ldm")
        if rank == 0:
            bring(str(start), run / "ldm")
    accelerator.wait_for_everyone()
    steps = itertools.count(1)
    with contextlib.suppress(Stopped):
        train_denoiser(config, run, accelerator, lambda step, values: None, lambda: next(steps) in stops)


def trained(runs: Sequence[Path], groups: Sequence[tuple[str, ...]]) -> None:
    """Train each run in its group, a program of its own."""
    told = json.dumps([[str(run), *group] for run, group in zip(runs, groups, strict=True)])
    subprocess.run(
        [sys.executable, __file__, told], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, check=True
    )


if __name__ == "__main__":
    train_in_groups(json.loads(sys.argv[1]))

"""Any number of workers, whether or not it divides the batch, and any size of its parts, give one loss curve."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from mrigen.labels import all_cells
from mrigen.model_folder.files import load_model
from tests.fake_run import write_data
from tests.workers import trained


def losses(run: Path, stage: str) -> list[float]:
    return [line["loss"] for line in map(json.loads, (run / stage / "journal.jsonl").open()) if "loss" in line]


@pytest.mark.slow
def test_loss_curves_agree(tmp_path: Path) -> None:
    write_data(tmp_path / "data", all_cells()[:4], {"train": 2, "val": 1})
    small = ["autoencoder.training.micro_batch_size=2", "denoiser.training.micro_batch_size=2"]
    small.append("denoiser.recompute_activations=true")
    groups = [("1",), ("2",), ("4",), ("3", *small)]
    runs = [tmp_path / f"run-{number}" for number in range(len(groups))]
    for run in runs:
        shutil.copytree(tmp_path / "data", run)
    trained(runs, groups)
    for stage in ("vae", "ldm"):
        curves = [losses(run, stage) for run in runs]
        assert len(curves[0]) == 10
        for curve in curves[1:]:
            # The same rows and noise: only the order of sums differs. From step to step the loss differs by a tenth.
            assert curve == pytest.approx(curves[0], rel=2e-3), stage


@pytest.mark.slow
def test_spread_weights_learn_what_whole_ones_do_and_go_on_after_a_stop(tmp_path: Path) -> None:
    write_data(tmp_path / "data", all_cells()[:4], {"train": 2, "val": 1})
    spread = "denoiser.shard_weights=true", "denoiser.early_share=0.5", "denoiser.training.micro_batch_size=2"
    whole, undisturbed, stopped, fewer = runs = [tmp_path / f"run-{number}" for number in range(4)]
    for run in runs:
        shutil.copytree(tmp_path / "data", run)
    groups = [
        (whole, ("2", *spread[1:])),
        (undisturbed, ("2", *spread)),
        *((stopped, ("2", *spread, *stop)) for stop in (["stop=7"], [])),
        *((fewer, group) for group in (("2", *spread, "stop=7"), ("1", *spread))),
    ]
    trained(*zip(*groups, strict=True))
    curve = losses(whole, "ldm")
    assert len(curve) == 10
    for run in runs[1:]:
        assert losses(run, "ldm") == pytest.approx(curve, rel=2e-3)
        one, other = (load_model(folder / "model").denoiser.state_dict() for folder in (whole, run))
        torch.testing.assert_close(other, one, atol=2e-4, rtol=1e-3)
    sums = [(run / "model" / "SHA256SUMS").read_bytes() for run in (undisturbed, stopped)]
    assert sums[0] == sums[1]


@pytest.mark.slow
def test_loss_curves_of_adapters_agree(tiny_run: Path, tmp_path: Path) -> None:
    runs = [tmp_path / f"run-{number}" for number in range(2)]
    for run in runs:
        write_data(run, all_cells()[:4], {"train": 2, "val": 1})
        shutil.copytree(tiny_run / "model", run / "other")
    adapters = ["denoiser.adapter_rank=2", "denoiser.training.learning_rate=0.03", "denoiser.training.warmup_steps=0"]
    trained(runs, [("1", *adapters), ("2", *adapters)])
    curves = [losses(run, "ldm") for run in runs]
    assert len(curves[0]) == 10
    assert curves[1] == pytest.approx(curves[0], rel=2e-3)
    one, two = (load_model(run / "model").denoiser.state_dict() for run in runs)
    torch.testing.assert_close(two, one, atol=2e-2, rtol=1e-2)

"""An early state of the denoiser, which training keeps and guidance leads away from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mrigen.each import one_by_one
from mrigen.errors import InputError
from mrigen.labels import Cell, all_cells
from mrigen.model_folder.files import EARLY, load_model
from mrigen.pipeline import Pipeline
from mrigen.samples import SampleRequest
from mrigen.stages.encode import encode_run
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.checkpoints import Checkpoints
from mrigen.training.fine_tuning import begin
from mrigen.training.ldm import averaged_file, train_denoiser
from mrigen.training.vae import train_autoencoder
from tests.fake_run import tiny_config, write_data

SETTINGS = ["denoiser.early_share=0.5", "sampler.guide=early", "denoiser.training.num_steps=4"]
EACH_SECOND = "denoiser.training.checkpoint_every=2"


def quiet(step, values):
    """A report that says nothing."""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder, config = tmp_path_factory.mktemp("early"), tiny_config(*SETTINGS, EACH_SECOND)
    write_data(folder, all_cells()[:4], {"train": 2})
    train_autoencoder(config, Location.parse(folder), make_accelerator(config), quiet)
    encode_run(Location.parse(folder), config, one_by_one)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Checkpoints, "delete", lambda self: self.wait())
        train_denoiser(config, Location.parse(folder), make_accelerator(config), quiet, kept_after=(2, 4))
    return folder


def drawn(model, **settings) -> np.ndarray:
    sampler = model.config.sampler.model_copy(update=settings)
    [sample] = Pipeline(model).sample([SampleRequest(Cell.parse("Healthy:T1w"), 7, sampler)])
    return sample.image


def test_averages_are_kept_after_the_steps_that_are_asked_for(run):
    state = torch.load(run / "ldm/checkpoints/step-00000002/state.pt")["average"]["shadow_params"]
    model = load_model(run / "model").denoiser
    kept = [load_file(averaged_file(Location.parse(run), step).path) for step in (2, 4)]
    for (name, last), average in zip(model.named_parameters(), state, strict=True):
        assert torch.equal(kept[0][name], average)
        assert torch.equal(kept[1][name].half(), last.half())
    assert len(list((run / "ldm").glob("averaged-*"))) == 2


def test_it_is_the_average_of_its_step_to_eight_bits(run):
    state = torch.load(run / "ldm/checkpoints/step-00000002/state.pt")["average"]["shadow_params"]
    early = load_model(run / "model").early
    assert len(state) == len(list(early.parameters()))
    for kept, average in zip(early.parameters(), state, strict=True):
        assert (kept - average).abs().max() <= average.abs().max() * 2**-4  # three bits behind the first
    assert not all(torch.equal(a, b) for a, b in zip(early.parameters(), state, strict=True))


def test_guidance_leads_from_it_to_the_denoiser_and_beyond(run):
    model = load_model(run / "model")
    modality_alone = {"guidance_scale": 0.0, "modality_scale": 1.0}
    alone = drawn(dataclasses.replace(model, denoiser=model.early), **modality_alone)
    whole = drawn(model, guidance_scale=1.0)
    assert not np.allclose(alone, whole, atol=1e-4)
    np.testing.assert_allclose(drawn(model, guidance_scale=0.0), alone, atol=1e-5)
    np.testing.assert_array_equal(drawn(model, guidance_scale=1.0, guide="cfg"), whole)
    beyond = drawn(model, guidance_scale=3.0)
    assert np.abs(beyond - alone).mean() > np.abs(whole - alone).mean()


def test_a_damaged_one_and_a_model_without_one_are_told(run, tmp_path):
    model = load_model(run / "model")
    with pytest.raises(InputError, match=r"sampler\.guide early: the model keeps no early state"):
        drawn(dataclasses.replace(model, early=None))
    folder = tmp_path / "model"
    Location.parse(folder).upload(run / "model")
    weights = load_file(folder / EARLY)
    save_file(dict(list(weights.items())[1:]), folder / EARLY)
    sums = (folder / "SHA256SUMS").read_text().splitlines()
    told = [line for line in sums if not line.endswith(EARLY)] + [f"{Location.parse(folder / EARLY).sha256()}  {EARLY}"]
    (folder / "SHA256SUMS").write_text("\n".join(told))
    with pytest.raises(InputError, match=r"early/model\.safetensors: "):
        load_model(folder)


def test_who_trains_no_step_takes_it_over(run, tmp_path):
    settings = [*SETTINGS[:2], "denoiser.training.num_steps=0"]
    Location.parse(tmp_path / "run").upload(run)
    for name in ("ldm", "model"):
        Location.parse(tmp_path / "run" / name).delete()
    folder = Location.parse(tmp_path / "run")
    config = begin(folder, tiny_config(*settings), "ldm", str(run / "model"))
    train_denoiser(config, folder, make_accelerator(config), quiet)
    first, second = (load_file(place / "model" / EARLY) for place in (run, tmp_path / "run"))
    assert all(torch.equal(first[name].float(), second[name].float()) for name in first)


def test_who_trains_no_step_needs_a_model_that_has_one(run, tiny_run, tmp_path):
    folder = Location.parse(tmp_path / "run")
    folder.upload(run)
    for name in ("ldm", "model"):
        (folder / name).delete()
    config = begin(folder, tiny_config(*SETTINGS[:2], "denoiser.training.num_steps=0"), "ldm", str(tiny_run / "model"))
    with pytest.raises(InputError) as error:
        train_denoiser(config, folder, make_accelerator(config), quiet)
    assert str(error.value) == (
        "denoiser.early_share: no step is trained, and the model of --from keeps no early state: "
        "--set denoiser.early_share=0 --set sampler.guide=cfg"
    )


def test_guidance_by_one_label_leads_away_from_the_null(run):
    model = load_model(run / "model")
    composed = {"guidance_scale": 0.0, "pathology_scale": 2.0}
    np.testing.assert_array_equal(drawn(model, **composed), drawn(model, **composed, guide="cfg"))


def test_to_guide_by_what_is_not_kept_is_refused():
    with pytest.raises(InputError, match=r"sampler\.guide early needs an early state: denoiser\.early_share, such as"):
        tiny_config("sampler.guide=early")

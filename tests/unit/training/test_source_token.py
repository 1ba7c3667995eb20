"""A denoiser that is told the source of each image: samples of one source, or of the average over them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrigen.cohort.order import CohortOrder
from mrigen.cohort.plan import read_plan
from mrigen.each import one_by_one
from mrigen.errors import InputError, Stopped
from mrigen.labels import Cell, all_cells
from mrigen.model_folder.files import load_model
from mrigen.pipeline import Pipeline
from mrigen.records import read_file, tensor_column, tensor_numpy, write_table
from mrigen.samples import SampleRequest
from mrigen.stages.encode import encode_run
from mrigen.stages.generate import generate_run
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.fine_tuning import begin
from mrigen.training.journal import Stop, never
from mrigen.training.ldm import train_denoiser
from mrigen.training.rows import known_sources
from tests.command import mrigen
from tests.fake_run import close_data, tiny_config, write_data

BRIGHT, DARK = "clinic, site A", "clinic, site B"
SMALL = ["codec=pixels", "denoiser.network=conv", "denoiser.block_channels=[16, 16, 16]"]
SMALL += ["denoiser.attention_levels=[false, false, false]", "denoiser.head_channels=16"]
SMALL += ["denoiser.training.learning_rate=5e-3", "denoiser.training.warmup_steps=0"]
SMALL += ["denoiser.training.ema_decay=0.9", "denoiser.training.preview_every=1000"]
TOKEN = ["denoiser.source_token=true", "denoiser.source_dropout=0.3"]
CELL = Cell.parse("Healthy:T1w")


def two_sites(folder: Path, dark: str = DARK) -> Location:
    """A run up to its latents: every other subject is of a site whose images are dark, the others are bright. A subject
    that only validates is of a third site."""
    write_data(folder, all_cells()[:2], {"train": 4, "val": 1})
    for file in (folder / "data").glob("*.parquet"):
        table = read_file(Location.parse(file))
        is_dark = np.array([name[:8] in ("train001", "train003") for name in table["subject"].to_pylist()])
        images = np.where(is_dark, -0.6, 0.6)[:, None, None] + 0.3 * tensor_numpy(table["image"])
        sources = np.where(is_dark, dark, BRIGHT).astype(object)
        sources[[name.startswith("val") for name in table["subject"].to_pylist()]] = "another"
        for name, column in (("image", images), ("source", sources)):
            place = table.schema.get_field_index(name)
            made = tensor_column(column, table.schema.field(name)) if name == "image" else pa.array(column, pa.string())
            table = table.set_column(place, table.schema.field(name), made)
        write_table(table, Location.parse(file))
    close_data(folder)
    run = Location.parse(folder)
    encode_run(run, tiny_config(*SMALL), one_by_one)
    return run


def train(run: Location, *settings: str, stop: Stop = never) -> None:
    config = tiny_config(*SMALL, *settings)
    train_denoiser(config, run, make_accelerator(config), lambda step, values: None, stop)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two") / "run"
    train(two_sites(folder), *TOKEN, "denoiser.training.num_steps=80", "denoiser.training.checkpoint_every=1000")
    return folder


@pytest.fixture(scope="module")
def pipeline(run) -> Pipeline:
    return Pipeline.load(run / "model")


def brightness(pipeline: Pipeline, source: str | None, **settings: object) -> np.ndarray:
    """Means of 8 samples."""
    sampler = pipeline.config.sampler.model_copy(update={"num_steps": 4, **settings})
    samples = pipeline.sample([SampleRequest(CELL, seed, sampler, 6.0, source) for seed in range(8)])
    return np.array([sample.image.mean() for sample in samples])


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_samples_are_of_the_source_that_is_asked_for_and_without_one_of_their_average(pipeline, scale):
    bright, dark, average = (brightness(pipeline, source, guidance_scale=scale) for source in (BRIGHT, DARK, None))
    assert (dark < average).all()
    assert (average < bright).all()
    assert bright.mean() - dark.mean() > 0.1


def test_guidance_keeps_the_source(pipeline):
    """Where guidance is measured from, the source stands: by a scale of 0 samples are of no cell, but of the source."""
    bright, dark = (brightness(pipeline, source, guidance_scale=0.0) for source in (BRIGHT, DARK))
    assert bright.mean() - dark.mean() > 0.1


def test_a_sample_is_that_of_its_record(no_ray, run, pipeline, tmp_path, capsys):
    command = ["generate", "--model", run / "model", "--out", tmp_path / "out", "--cells", f"{CELL}=2", "--redraws", 0]
    assert mrigen(*command, "--source", DARK) == 0
    assert read_plan(Location.parse(tmp_path / "out")).source == DARK
    assert f"- seed 0, source {DARK};" in (tmp_path / "out/README.md").read_text()
    table = pq.read_table(tmp_path / "out/manifest")
    for row, image in zip(table.drop_columns("image").to_pylist(), tensor_numpy(table["image"]), strict=True):
        request = SampleRequest(CELL, row["seed"], pipeline.config.sampler, row["slice_mm"], row["source"])
        [sample] = pipeline.sample([request])
        assert row["source"] == sample.provenance()["source"] == DARK
        np.testing.assert_array_equal(sample.image.astype(np.float16), image)
    assert mrigen(*command) == 2
    assert f"another plan (source was {DARK}, is none)" in capsys.readouterr().err


def test_a_neighbour_of_another_source_changes_no_bit(pipeline):
    sampler = pipeline.config.sampler
    asked = [SampleRequest(CELL, 1, sampler, 6.0, source) for source in (BRIGHT, None, DARK)]
    for request, together in zip(asked, pipeline.sample(asked), strict=True):
        np.testing.assert_array_equal(pipeline.sample([request])[0].image, together.image)


def test_the_model_folder_keeps_the_names_and_the_card_tells_them(run, pipeline):
    assert pipeline.model.sources == (BRIGHT, DARK)
    card = (run / "model/README.md").read_text()
    assert "four tokens (pathology, modality, slice position, source)" in card
    assert f"- `{BRIGHT}`\n- `{DARK}`\n" in card


def test_an_unknown_source_is_told_with_those_that_are_known(run, pipeline, tiny_run, tmp_path):
    told = f"source 'site C' is none that the model tells apart: known are {[BRIGHT, DARK]}; or leave it out"
    request = SampleRequest(CELL, 0, pipeline.config.sampler, 0.0, "site C")
    with pytest.raises(InputError) as error:
        pipeline.sample([request])
    assert str(error.value) == told
    with pytest.raises(InputError) as error:
        generate_run(
            Location.parse(tmp_path / "out"), Location.parse(run / "model"), one_by_one, CohortOrder(source="site C")
        )
    assert str(error.value) == told
    with pytest.raises(InputError) as error:
        Pipeline.load(tiny_run / "model").sample([request])
    assert str(error.value) == (
        "source 'site C' is none that the model tells apart: it has no denoiser.source_token; or leave it out"
    )


def test_a_training_that_was_stopped_ends_with_the_bytes_of_an_undisturbed_one(run, tmp_path):
    few = [*TOKEN, "denoiser.training.num_steps=6", "denoiser.training.checkpoint_every=2"]
    folders = [tmp_path / name for name in ("undisturbed", "stopped")]
    for folder in folders:
        for stage in ("data", "latents"):
            shutil.copytree(run / stage, folder / stage)
    train(Location.parse(folders[0]), *few)
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        train(Location.parse(folders[1]), *few, stop=lambda: next(asked))
    train(Location.parse(folders[1]), *few)
    undisturbed, stopped = ((folder / "model/SHA256SUMS").read_text() for folder in folders)
    assert undisturbed == stopped


@pytest.mark.parametrize(("most", "count"), [(100, 1), (1, 2)])
def test_too_few_and_too_many_sources_are_refused(run, tmp_path, monkeypatch, most, count):
    monkeypatch.setattr("mrigen.training.rows.MOST_SOURCES", most)
    latents = Location.parse(run / "latents") if count == 2 else two_sites(tmp_path, dark=BRIGHT) / "latents"
    with pytest.raises(InputError) as error:
        known_sources(latents, tiny_config(*TOKEN))
    assert str(error.value) == (
        f"denoiser.source_token needs training images of 2 to {most} sources, and {latents} has {count}, such as "
        f"{[BRIGHT, DARK][:count]}: name scanners or sites when they are prepared, or --set denoiser.source_token=false"
    )


def test_latents_of_an_earlier_version_are_told(run, tmp_path):
    latents = Location.parse(tmp_path / "latents")
    for file in (run / "latents").glob("*.parquet"):
        write_table(read_file(Location.parse(file)).drop_columns("source"), latents / file.name)
    assert known_sources(latents, tiny_config()) == ()
    with pytest.raises(InputError) as error:
        known_sources(latents, tiny_config(*TOKEN))
    assert str(error.value) == (
        f"{latents} does not tell sources, as of an earlier version: delete it, and `mrigen encode` again"
    )


def test_a_model_of_other_sources_is_nothing_to_begin_with(run, tmp_path):
    model, other = str(run / "model"), two_sites(tmp_path, dark="clinic, site C")
    with pytest.raises(InputError) as error:
        begin(other, tiny_config(*SMALL, *TOKEN), "ldm", model)
    assert str(error.value) == (
        f"--from: the weights of {model} do not fit (sources are {[BRIGHT, DARK]} there, {[BRIGHT, 'clinic, site C']} "
        "here): prepare a run of the same sources, or begin with a model without a source token"
    )
    with pytest.raises(
        InputError, match=r"denoiser\.source_token is True there, False here\): prepare a run with --set"
    ):
        begin(other, tiny_config(*SMALL), "ldm", model)
    assert not (tmp_path / "ldm").exists()


def test_who_begins_with_a_model_of_the_same_sources_takes_its_tokens_over(run, tmp_path):
    for stage in ("data", "latents"):
        shutil.copytree(run / stage, tmp_path / stage)
    folder = Location.parse(tmp_path)
    config = begin(folder, tiny_config(*SMALL, *TOKEN, "denoiser.training.num_steps=0"), "ldm", str(run / "model"))
    train_denoiser(config, folder, make_accelerator(config), lambda step, values: None)
    before, after = (load_model(place / "model").denoiser.conditioner for place in (run, tmp_path))
    assert np.array_equal(before.source.weight, after.source.weight)

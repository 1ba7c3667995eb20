"""Settings: presets, files, overrides, and what is told when one is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from mrigen.config import Config, DataConfig, load_config, parse_config
from mrigen.config.files import PRESETS, read_settings
from mrigen.errors import InputError
from mrigen.run import resolve_config
from mrigen.storage import Location


def test_each_wins_over_the_one_before() -> None:
    text = "autoencoder: {training: {num_steps: 7}}\ndata: {slice_step_mm: 4}"
    assert load_config("tiny").autoencoder.training.num_steps != 7
    config = load_config("tiny", text)
    assert (config.autoencoder.training.num_steps, config.data.slice_step_mm) == (7, 4)
    config = load_config("tiny", text, ["autoencoder.training.num_steps=9"])
    assert (config.autoencoder.training.num_steps, config.data.slice_step_mm) == (9, 4)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_comes_back_from_its_yaml_and_its_json(preset: str) -> None:
    config = load_config(preset)
    assert load_config("quick", config.to_yaml()) == config
    assert parse_config(json.loads(json.dumps(config.model_dump(mode="json")))) == config
    assert yaml.safe_load(config.to_yaml())["data"]["image_size"] == config.data.image_size


@pytest.mark.parametrize("preset", ["tiny", "quick"])
def test_both_small_presets_are_64_pixels_of_3_mm(preset: str) -> None:
    data = load_config(preset).data
    assert (data.image_size, data.spacing_mm) == (64, 3.0)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.imagesize=64", "did you mean 'image_size'"),
        ("dat.image_size=64", "did you mean 'data'"),
        ("data.image_size=abc", "data.image_size"),
        ("data.image_size=65", "multiple of 8"),
        ("data.image_size=-8", "got '-8'"),
        ("data.spacing_mm=.nan", "data.spacing_mm"),
        ("data.spacing_mm=.inf", "data.spacing_mm"),
        ("data=5", "group of settings"),
        ("data.slice_range_mm=[10, -10]", "lowest"),
        ("data.clip_percentiles=[50, 50]", "clip_percentiles"),
        ("data.val_fraction=0.9", "nothing to train on"),
        ("sampler.solver=euler", "solver"),
        ("autoencoder.block_channels=[]", "autoencoder.block_channels"),
        ("denoiser.block_channels=[]", "denoiser.block_channels"),
        ("autoencoder.crop_size=8", "greater than or equal to 16"),
        ("denoiser.cell_balance=2", "denoiser.cell_balance"),
        ("sampler.num_steps=0", "num_steps"),
        ("held_out_cells=[GBM-PD]", "GBM-PD"),
        ("data.image_size", "key.path=value"),
        ("=3", "key.path=value"),
        ("data.image_size=[", "not YAML"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(override: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config("tiny", overrides=[override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sampler_cannot_take_more_steps_than_there_are_noise_levels() -> None:
    with pytest.raises(InputError, match=r"sampler\.num_steps 20 is more than num_train_timesteps 10"):
        load_config("quick", overrides=["sampler.num_steps=20", "diffusion.num_train_timesteps=10"])


def test_a_run_of_before_the_choice_of_networks_keeps_its_own(tmp_path: Path) -> None:
    tree = load_config("quick").model_dump(mode="json")
    assert tree["denoiser"].pop("network") == "conv"
    (tmp_path / "config.json").write_text(json.dumps(tree))
    assert resolve_config(Location.parse(tmp_path), None, None, ()).denoiser.network == "unet"


@pytest.mark.parametrize("text", ["[1, 2]", "a: b: c", "just words", "data: {nosuch: 1}", "\t- x"])
def test_a_file_that_is_no_settings_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InputError, match=r"mine\.yaml"):
        load_config("tiny", text, source="mine.yaml")


def test_a_wrong_value_is_told_with_the_file_that_holds_it() -> None:
    text = "seed: -1"
    for overrides in ([], ["data.image_size=32"]):
        with pytest.raises(InputError, match=r"^run/config\.json: seed: .*, got '-1'$"):
            load_config("tiny", text, overrides, source="run/config.json")
    with pytest.raises(InputError, match=r"^data\.image_size: "):
        load_config("tiny", "seed: 1", ["data.image_size=9"], source="run/config.json")
    assert load_config("tiny", text, ["seed=1"], source="run/config.json").seed == 1


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"'huge'.*tiny.*quick"):
        load_config("huge")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        DataConfig().image_size = 32  # type: ignore[misc]


def test_overrides_are_typed_by_yaml() -> None:
    config = load_config("tiny", overrides=["data.clip_percentiles=[1, 99]", "diffusion.min_snr_gamma=null"])
    assert config.data.clip_percentiles == (1, 99)
    assert config.diffusion.min_snr_gamma is None
    assert isinstance(config, Config)


def test_a_settings_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\x80\x81\xff")
    with pytest.raises(InputError, match=r"--config: .*binary\.yaml cannot be read as text"):
        read_settings(str(tmp_path / "binary.yaml"))
    with pytest.raises(InputError, match=r"--config: no file .*none\.yaml"):
        read_settings(str(tmp_path / "none.yaml"))

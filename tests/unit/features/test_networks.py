"""What an evaluation learned once serves again only while the networks are the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.features.networks import NO_CLASSIFIER, find_networks
from mrigen.storage import Location
from tests.fake_brains import T1W, T2W
from tests.fake_run import close_data, tiny_config, write_autoencoder, write_data
from tests.unit.evaluation.described import plan_of

CONFIG = tiny_config()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_data(tmp_path, [T1W], {"train": 2, "val": 1, "test": 2})
    write_autoencoder(tmp_path / "vae", CONFIG)
    return tmp_path


def keys(run: Path, config: Config = CONFIG) -> set[str]:
    """Under which all that was seen of the images is kept."""
    return {shard.key for shard in plan_of(run, config).shards}


def test_the_same_networks_give_the_same_keys(run: Path) -> None:
    assert keys(run) == keys(run, tiny_config("evaluation.num_bootstraps=77")) != set()


def test_another_autoencoder_gives_other_keys(run: Path) -> None:
    before = keys(run)
    write_autoencoder(run / "vae", CONFIG, seed=1)
    assert not before & keys(run)


def test_a_classifier_of_other_images_or_another_training_gives_other_keys(run: Path) -> None:
    """The held-out images and their file stay as they are."""
    before = keys(run)
    longer = tiny_config(f"studies.classifier_steps={CONFIG.studies.classifier_steps + 1}")
    assert not before & keys(run, longer)
    (run / "more").mkdir()
    write_data(run / "more", [T2W], {"train": 2}, num_files=1)
    (run / "more" / "data" / "part-00000.parquet").rename(run / "data" / "part-00002.parquet")
    close_data(run)
    assert not before & keys(run)


def test_a_broken_autoencoder_is_told_at_once(run: Path) -> None:
    weights = run / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    place = re.escape(str(run / "vae"))
    with pytest.raises(InputError, match=rf"^{place} holds no whole network \(.*\): make or copy it anew$") as told:
        find_networks(Location.parse(run), CONFIG)
    assert str(told.value).count(str(run)) == 1


def test_what_is_not_there_has_a_reason_and_no_hash(tmp_path: Path) -> None:
    write_data(tmp_path, [T1W], {"test": 2})
    networks = find_networks(Location.parse(tmp_path), CONFIG)
    assert dict(networks.hashes) == {}
    assert dict(networks.absent) == {
        "autoencoder": "no trained autoencoder: run `mrigen train-vae` first",
        "mri": NO_CLASSIFIER,
    }


def test_a_bad_file_of_weights_is_told_before_any_work(run: Path) -> None:
    (run / "weights.safetensors").write_text("no tensors")
    config = tiny_config(
        "evaluation.extractors=[inception]", f"evaluation.weights.inception={run / 'weights.safetensors'}"
    )
    with pytest.raises(InputError, match=r"weights\.safetensors is not a whole safetensors file: docs/evaluation\.md"):
        find_networks(Location.parse(run), config)

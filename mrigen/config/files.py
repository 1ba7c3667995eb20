"""Settings as users write them: presets, YAML files and `key.path=value`, laid over one another as trees."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mrigen.errors import InputError

PRESETS: dict[str, dict[str, Any]] = {
    # Tests: seconds for the whole chain; the images are noise-like.
    "tiny": {
        "data": {"slice_step_mm": 22.0},
        "autoencoder": {
            "latent_channels": 4,
            "block_channels": [8, 8, 16, 16],
            "training": {"num_steps": 8, "batch_size": 8, "checkpoint_every": 4, "log_every": 2, "preview_every": 4},
        },
        "denoiser": {
            "block_channels": [32, 32],
            "attention_levels": [True, True],
            "condition_channels": 32,
            "training": {"num_steps": 8, "batch_size": 8, "checkpoint_every": 4, "log_every": 2, "preview_every": 4},
        },
        "sampler": {"num_steps": 3},
        "evaluation": {"feature_size": 32, "num_pairs": 10, "num_bootstraps": 50, "num_permutations": 100},
        "studies": {
            "classifier_steps": 10,
            "samples_per_cell": 2,
            "guidance_scales": [3.0],
            "step_counts": [1, 3],
            "usefulness_steps": 2,
            "real_fractions": [0.5, 1.0],
            "space_minutes": 0.5,
        },
    },
    # Two CPU cores: brains to the eye within 25 minutes.
    "quick": {
        "autoencoder": {
            "network": "conv",
            "block_channels": [32, 64],
            "latent_noise": 0.2,
            "training": {"num_steps": 1200, "learning_rate": 2e-3, "ema_decay": 0.995},
        },
        "denoiser": {"network": "conv", "training": {"num_steps": 1200, "learning_rate": 1e-3}},
        "sampler": {"num_steps": 10},
    },
    # Two CPU cores and some hours, or a GPU: slices of 128 x 128 pixels at 1.5 mm, of 16 x 16 latents.
    "slice128": {
        "data": {"image_size": 128, "spacing_mm": 1.5},
        "autoencoder": {
            "network": "conv",
            "latent_channels": 8,
            "block_channels": [32, 64, 128],
            "crop_size": 64,
            "lesion_weight": 1.0,
            "latent_noise": 0.2,
            "training": {"num_steps": 4000, "batch_size": 16, "learning_rate": 2e-3, "ema_decay": 0.995},
        },
        "denoiser": {
            "early_share": 0.06,
            "training": {"num_steps": 10000, "learning_rate": 1e-3, "warmup_steps": 200, "ema_decay": 0.999},
        },
        "sampler": {"num_steps": 8, "guide": "early"},
    },
    # A GPU, or some: slices of 256 x 256 pixels at 0.75 mm, of 32 x 32 latents. By docs/guides/recipes.md.
    "slice256": {
        "precision": "bf16",
        "data": {"image_size": 256, "spacing_mm": 0.75, "slice_step_mm": 3.0},
        "autoencoder": {
            "network": "conv",
            "latent_channels": 16,
            "block_channels": [64, 128, 256],
            "crop_size": 128,
            "lesion_weight": 1.0,
            "latent_noise": 0.2,
            "training": {"num_steps": 20000, "batch_size": 32, "learning_rate": 1.4e-3, "ema_decay": 0.999},
        },
        "denoiser": {
            "block_channels": [192, 384, 576],
            "layers_per_block": 2,
            "head_channels": 64,
            "norm_groups": 32,
            "condition_channels": 512,
            "training": {
                "num_steps": 100000,
                "batch_size": 256,
                "learning_rate": 4.7e-4,
                "warmup_steps": 1000,
                "ema_decay": 0.9999,
            },
        },
    },
}


def resolved_tree(
    defaults: dict[str, Any], preset: str | None, text: str | None, overrides: Iterable[str], source: str
) -> dict[str, Any]:
    """A preset, then a YAML text, then overrides laid over `defaults`, which it changes; values are not checked.

    Raises InputError for a preset, a text or an override that cannot be read, or a key that `defaults` lacks.
    """
    if preset is not None:
        if preset not in PRESETS:
            raise InputError(f"unknown preset {preset!r}: known are {', '.join(PRESETS)}")
        _merge(defaults, PRESETS[preset], f"preset {preset}")
    if text is not None:
        tree = parse_yaml(text, source)
        if not isinstance(tree, dict):
            raise InputError(f"{source} must hold a mapping of settings, not {type(tree).__name__}")
        _merge(defaults, tree, source)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise InputError(f"override {override!r} is not of the form key.path=value")
        branch = parse_yaml(value, f"override {override!r}")
        for name in reversed(key.split(".")):
            branch = {name: branch}
        _merge(defaults, branch, f"override {override!r}")
    return defaults


def read_settings(path: str) -> str:
    """The text of a YAML file of settings. Raises InputError if there is no such file, or it holds no text."""
    file = Path(path)
    if not file.is_file():
        raise InputError(f"--config: no file {path}")
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--config: {path} cannot be read as text: {' '.join(str(error).split())}") from None


def parse_yaml(text: str | bytes, source: str) -> Any:
    """What a YAML text holds. Raises InputError if it is none, or gives a key twice, of which YAML takes the last."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{source} is not YAML: {' '.join(str(error).split())[:200]}") from None


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.composer.ComposerError(None, None, f"{twice!r} is given twice", node.start_mark)
        return node


def _merge(tree: dict[str, Any], patch: Mapping[str, Any], source: str, path: str = "") -> None:
    """Lay `patch` over `tree` in place; a key that `tree` lacks is an error that names the nearest one."""
    for key, value in patch.items():
        here = f"{path}.{key}" if path else str(key)
        if key not in tree:
            near = difflib.get_close_matches(str(key), tree, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(tree)}"
            raise InputError(f"{source}: unknown setting {here!r}{hint}")
        if isinstance(tree[key], dict):
            if not isinstance(value, Mapping):
                raise InputError(f"{source}: {here!r} is a group of settings, not a value")
            _merge(tree[key], value, source, here)
        else:
            tree[key] = value

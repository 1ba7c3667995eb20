"""The model folder: safetensors beside JSON, closed by a SHA-256 manifest. Nothing in it is ever unpickled.

vae/ unet/ scheduler/   as diffusers writes them, which reads its own networks back by `from_pretrained`;
                        `vae/config.json` carries the latents' mean and standard deviation a channel
statistics.json         in the place of `vae/`, the same two, where the denoiser works on pixels
conditioning/           the condition tokens, and the names of the sources that are told apart, if any
early/                  where kept, an early state of U-Net and tokens: torch's float8_e4m3fn, and a scale a tensor
labels.json             training images of every cell, the data sets that they came from, their licences, where slices
                        were taken, how large and bright the images are, and digests of the subjects' names
mrigen_config.json      the what-settings of the run
README.md               the model card
SHA256SUMS              closes the folder; its own hash names the model
"""

from __future__ import annotations

import copy
import hashlib
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, FlowMatchEulerDiscreteScheduler
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mrigen import __version__
from mrigen.config import Config
from mrigen.diffusion.process import NoiseSchedule
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality
from mrigen.model_folder.card import model_card
from mrigen.model_folder.facts import CONFIG, SUMS, ModelFacts, read_facts, read_fields, read_json
from mrigen.models.autoencoder import NETWORKS, Autoencoder
from mrigen.models.codec import Codec, PixelCodec
from mrigen.models.conditioning import Conditioner, vocabulary_of
from mrigen.models.denoiser import UNETS, Denoiser
from mrigen.models.latent_space import LatentStatistics
from mrigen.quality import ImageLimits
from mrigen.storage import Location

STATISTICS = "statistics.json"
EARLY = "early/model.safetensors"
NUM_QUANTILES = 101
_8_BITS, _SCALE = torch.float8_e4m3fn, ":scale"
_LARGEST = torch.finfo(_8_BITS).max


@dataclass(frozen=True, eq=False)
class TrainingFacts:
    """What a model folder tells of its training images: number of every cell, slice heights in mm, names of subjects,
    of the data sets that they came from, their licences, the `mrigen.quality` limits of each modality, and
    `subject_digests` of further subjects.

    Of a subject's name only `subject_digest` is kept.
    """

    counts: Mapping[Cell, int]
    slice_mm: np.ndarray[Any, np.dtype[np.float32]]
    subjects: Collection[str]
    sources: Collection[str]
    licences: Collection[str]
    limits: Mapping[Modality, ImageLimits]
    subject_digests: Collection[str] = ()


@dataclass(frozen=True, eq=False)
class Model(ModelFacts):
    """All that a model folder holds, ready to sample; networks in float32 evaluation mode on the CPU."""

    codec: Codec
    denoiser: Denoiser
    early: Denoiser | None
    """An early state of the denoiser, to guide away from."""
    statistics: LatentStatistics

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise levels that the denoiser was trained on."""
        return NoiseSchedule.build(self.config.diffusion)


def save_autoencoder(folder: Location, autoencoder: Autoencoder, config: Config) -> None:
    """Publish an autoencoder folder that diffusers reads too."""
    with tempfile.TemporaryDirectory(prefix="mrigen-") as name:
        autoencoder.vae.save_pretrained(name)
        (Location.parse(name) / CONFIG).write_json(config.model_dump(mode="json"))
        folder.upload(Path(name))


def load_autoencoder(folder: Path) -> Autoencoder:
    """Read an autoencoder folder, for inference. Raises InputError if it is missing or broken."""
    file = folder / "config.json"
    known = {network.__name__: network for network in NETWORKS.values()}
    name = read_json(file).get("_class_name") if file.is_file() else AutoencoderKL.__name__
    if name not in known:
        raise InputError(f"{file}: _class_name {str(name)[:80]!r} is none of {', '.join(known)}")
    return Autoencoder(_load_network(known[name], folder)).eval().requires_grad_(False)


def load_codec(config: Config, vae: Location) -> Codec:
    """The codec of a run, for inference; an autoencoder is in its `vae`. Raises InputError if that is not whole."""
    if config.codec == "pixels":
        return PixelCodec()
    with vae.as_local() as folder:
        return load_autoencoder(folder)


def save_model(
    folder: Location,
    codec: Codec,
    denoiser: Denoiser,
    config: Config,
    statistics: LatentStatistics,
    seen: TrainingFacts,
    early: Mapping[str, Tensor] | None = None,
) -> None:
    """Publish a model folder in half precision, `SHA256SUMS` last. An older model there is replaced.

    `early` are the weights of an early state of the denoiser.

    Raises InputError for weights that are not finite in half precision.
    """
    quantiles = np.quantile(seen.slice_mm, np.linspace(0, 1, NUM_QUANTILES)).round(3).tolist()
    with tempfile.TemporaryDirectory(prefix="mrigen-") as name:
        root, made = Path(name), Location.parse(name)
        if isinstance(codec, Autoencoder):
            vae = _copied(codec.vae)
            vae.register_to_config(latents_mean=list(statistics.mean), latents_std=list(statistics.std))
            _finite(vae.half()).save_pretrained(root / "vae")
        else:
            (made / STATISTICS).write_json({"mean": statistics.mean, "std": statistics.std})
        _finite(_copied(denoiser.unet).half()).save_pretrained(root / "unet")
        scheduler(config).save_pretrained(root / "scheduler")
        (root / "conditioning").mkdir()
        conditioner = _finite(denoiser.conditioner)
        tokens = {k: v.detach().cpu().half().contiguous() for k, v in conditioner.state_dict().items()}
        save_file(tokens, root / "conditioning" / "model.safetensors")
        told = {"sources": list(conditioner.sources)} if conditioner.sources else {}
        (made / "conditioning" / "config.json").write_json({"channels": conditioner.channels, **told})
        if early is not None:
            (root / "early").mkdir()
            save_file(_in_8_bits(early), root / EARLY)
        labels = {
            "training_counts": {str(cell): count for cell, count in seen.counts.items()},
            "training_sources": sorted(seen.sources),
            "training_licences": sorted(seen.licences),
            "image_limits": {str(modality): dict(limits) for modality, limits in seen.limits.items()},
            "slice_mm_quantiles": quantiles,
            "training_subjects": sorted({*map(subject_digest, seen.subjects), *seen.subject_digests}),
        }
        (made / "labels.json").write_json(labels)
        (made / CONFIG).write_json(config.model_dump(mode="json"))
        num_parameters = sum(p.numel() for p in denoiser.parameters())
        card = model_card(
            config, seen.counts, seen.sources, seen.licences, conditioner.sources, num_parameters, __version__
        )
        (root / "README.md").write_text(card)
        (folder / SUMS).delete()
        folder.delete()  # with what who was killed amid this left
        folder.upload(root)
        sums = "".join(f"{file.sha256()}  {file.path.removeprefix(f'{made}/')}\n" for file in made.files())
    (folder / SUMS).write_bytes(sums.encode())


def subject_digest(subject: str) -> str:
    """16 hexadecimal digits that tell a subject's name again to who knows it."""
    return hashlib.sha256(f"mrigen-subject/{subject}".encode()).hexdigest()[:16]


def training_subjects(folder: Location) -> frozenset[str] | None:
    """The `subject_digest` of all whom the model in `folder` was trained on; None if it does not tell."""
    labels = (folder / "labels.json").read_json()
    subjects = labels.get("training_subjects") if isinstance(labels, dict) else None
    if not isinstance(subjects, list) or not all(isinstance(name, str) and len(name) == 16 for name in subjects):
        return None
    return frozenset(subjects) or None


def scheduler(config: Config) -> DDIMScheduler | FlowMatchEulerDiscreteScheduler:
    """diffusers' scheduler of the same noise levels and objective, for who loads the U-Net there."""
    settings = config.diffusion
    if settings.prediction == "flow":
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=settings.num_train_timesteps)
    return DDIMScheduler(
        num_train_timesteps=settings.num_train_timesteps,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="squaredcos_cap_v2" if settings.schedule == "cosine" else "scaled_linear",
        prediction_type="v_prediction" if settings.prediction == "v" else "epsilon",
        timestep_spacing="trailing",
        clip_sample=False,
    )


def load_model(folder: Path) -> Model:
    """Read a model folder after checking its hashes.

    Raises InputError if a file is missing, differs or does not fit the others.
    """
    facts = read_facts(folder)
    config = facts.config
    codec = load_codec(config, Location.parse(folder) / "vae")
    said, other = read_json(folder / "scheduler" / "scheduler_config.json"), scheduler(config)
    meant = {"_class_name": type(other).__name__, "prediction_type": other.config.get("prediction_type")}
    for key in meant:
        if said.get(key) != meant[key]:
            raise InputError(f"{folder / 'scheduler'}: {key} is {said.get(key)!r}, and by {CONFIG} {meant[key]!r}")
    channels = read_fields(folder / "conditioning" / "config.json", "channels")["channels"]
    conditioner = Conditioner(channels, vocabulary_of(facts.sources))
    try:
        conditioner.load_state_dict(load_file(folder / "conditioning" / "model.safetensors"))
    except (RuntimeError, SafetensorError, OSError) as error:
        raise InputError(f"{folder / 'conditioning'}: {' '.join(str(error).split())[:200]}") from None
    unet = _load_network(UNETS[config.denoiser.network], folder / "unet")
    denoiser, early = Denoiser(unet, _finite(conditioner).float()), None
    if config.denoiser.early_share:
        early = copy.deepcopy(denoiser)
        try:
            early.load_state_dict(_of_8_bits(load_file(folder / EARLY)))
        except (KeyError, RuntimeError, SafetensorError, OSError) as error:
            raise InputError(f"{folder / EARLY}: {' '.join(str(error).split())[:200]}") from None
        _finite(early).eval().requires_grad_(False)
    return Model(
        **vars(facts),
        codec=codec,
        denoiser=denoiser.eval().requires_grad_(False),
        early=early,
        statistics=_statistics(folder, codec, config.latent_shape[0]),
    )


def _statistics(folder: Path, codec: Codec, num_channels: int) -> LatentStatistics:
    """The scale of the latents. Raises InputError unless it is given for every channel."""
    if isinstance(codec, Autoencoder):
        file, tree = folder / "vae" / "config.json", codec.vae.config
        mean, std = tree.latents_mean, tree.latents_std
        names = "latents_mean and latents_std"
    else:
        file = folder / STATISTICS
        tree, names = read_json(file), "mean and std"
        mean, std = tree.get("mean"), tree.get("std")
    if mean is None or std is None or not len(mean) == len(std) == num_channels:
        raise InputError(f"{file}: {names} must hold one number a channel")
    return LatentStatistics(tuple(mean), tuple(std))


def _load_network(kind: Any, folder: Path) -> Any:
    """A diffusers network from a local folder, in float32. Raises InputError that names the folder."""
    if not (folder / "config.json").is_file():
        raise InputError(f"no network in {folder}: it has no config.json")
    if (name := read_json(folder / "config.json").get("_class_name")) != kind.__name__:
        raise InputError(f"{folder / 'config.json'}: _class_name is {str(name)[:80]!r}, and {kind.__name__} is meant")
    try:
        network: nn.Module = kind.from_pretrained(
            folder, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).replace(str(folder), "").split())[:200]
        raise InputError(f"{folder} holds no whole network ({reason}): make or copy it anew") from None
    return _finite(network)


def _finite(network: Any) -> Any:
    """The same network. Raises InputError if one of its weights is not finite."""
    for name, weights in network.state_dict().items():
        if not bool(torch.isfinite(weights).all()):
            raise InputError(f"{type(network).__name__}.{name} is not finite: the training broke down, train anew")
    return network


def _copied(network: Any) -> Any:
    """A copy to export: without what diffusers notes in a configuration, such as the folder it was read from."""
    made = type(network).from_config({k: v for k, v in network.config.items() if not k.startswith("_")})
    made.load_state_dict(network.state_dict())
    return made


def _in_8_bits(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    packed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        scale = weight.abs().amax().clamp_min(torch.finfo(torch.float32).tiny) / _LARGEST
        packed |= {name: (weight / scale).to(_8_BITS).contiguous(), f"{name}{_SCALE}": scale}
    return packed


def _of_8_bits(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = [name for name in packed if not name.endswith(_SCALE)]
    return {name: packed[name].float() * packed[f"{name}{_SCALE}"] for name in names}

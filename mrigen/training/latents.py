"""Encoding images to posteriors, and the statistics that standardise latents.

Takes a table of `records.image_schema`, gives one of `records.latent_schema`: mean and log-variance, never
a sample, which would bake its noise in for good.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.model_folder.files import STATISTICS, load_codec
from mrigen.models.codec import Codec
from mrigen.models.latent_space import LatentStatistics
from mrigen.records import latent_schema, read_file, tensor_column, tensor_numpy, write_table
from mrigen.run import finish
from mrigen.storage import Location
from mrigen.training.rows import of_split

ENCODE_BATCH = 32
SMALLEST_LOGVAR = -11.0
"""Below this float16 keeps too few digits of exp(logvar) to matter; such a posterior is a point."""


@torch.no_grad()
def encode_table(codec: Codec, images: pa.Table, device: str = "cpu") -> pa.Table:
    """Image rows -> latent rows, in the same order."""
    pixels = torch.from_numpy(tensor_numpy(images["image"]))[:, None]
    posteriors = [codec.encode(part.to(device)) for part in torch.split(pixels, ENCODE_BATCH)]
    means = torch.cat([p.mean for p in posteriors]).cpu().numpy()
    logvars = torch.cat([p.logvar for p in posteriors]).clamp(min=SMALLEST_LOGVAR).cpu().numpy()
    made = {"mean": means, "logvar": logvars}
    schema = latent_schema(means.shape[1:])
    columns = [tensor_column(made[one.name], one) if one.name in made else images[one.name] for one in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def encode_file(codec: Codec, source: Location, target: Location, device: str) -> pa.Table:
    """Encode the image rows of Parquet file `source` into `target`, and give the latent rows.

    A `target` that this codec made already is read, not made again.
    """
    digest = codec.digest()
    if target.is_file():
        table = read_file(target)
        if (table.schema.metadata or {}).get(b"codec") == digest.encode():
            return table
    table = encode_table(codec, read_file(source), device)
    table = table.replace_schema_metadata({"codec": digest})
    write_table(table, target)
    return table


@dataclass(frozen=True)
class LatentSums:
    """Count and per-channel sums of latents and their squares in float64: partial statistics that add up."""

    count: int
    total: tuple[float, ...]
    squares: tuple[float, ...]

    @classmethod
    def of(cls, latents: pa.Table, held_out: Collection[str] = ()) -> LatentSums:
        """Sums over the training rows of a latent table, without the cells that are held out.

        The expected square of a latent is mean^2 + variance of its posterior.
        """
        latents = of_split(latents, "train", held_out)
        mean = tensor_numpy(latents["mean"]).astype(np.float64)
        square = mean**2 + np.exp(tensor_numpy(latents["logvar"]).astype(np.float64))
        axes = (0, *range(2, mean.ndim))
        count = mean.size // mean.shape[1]
        return cls(count, tuple(mean.sum(axes).tolist()), tuple(square.sum(axes).tolist()))

    def plus(self, other: LatentSums) -> LatentSums:
        """The sums over both sets."""
        total = tuple(a + b for a, b in zip(self.total, other.total, strict=True))
        squares = tuple(a + b for a, b in zip(self.squares, other.squares, strict=True))
        return LatentSums(self.count + other.count, total, squares)

    def statistics(self) -> LatentStatistics:
        """Mean and standard deviation. Raises InputError without rows, or for a channel that never varies."""
        if self.count == 0:
            raise InputError("no training latent to take statistics of: the `train` split is empty")
        mean = np.asarray(self.total) / self.count
        variance = np.asarray(self.squares) / self.count - mean**2
        if not np.isfinite(variance).all() or (variance <= 0).any():
            raise InputError(f"latent channel {int(np.argmin(variance))} is constant: the autoencoder has collapsed")
        return LatentStatistics(tuple(mean.tolist()), tuple(np.sqrt(variance).tolist()))


def read_statistics(folder: Location) -> LatentStatistics:
    """Read `statistics.json` of a latents folder. Raises InputError if it is missing."""
    file = folder / STATISTICS
    if not file.is_file():
        raise InputError(f"{file} is missing: run `mrigen encode` first")
    tree = file.read_json()
    return LatentStatistics(tuple(tree["mean"]), tuple(tree["std"]))


class Encoder:
    """Encodes the image files of a run, one call a file; a file that is done already is only summed up."""

    def __init__(self, run: Location, config: Config, device: str) -> None:
        self._codec = load_codec(config, run / "vae").to(device)
        self._run, self._config, self._device = run, config, device

    def encode(self, name: str) -> LatentSums:
        """Encode `run/data/NAME` into `run/latents/NAME`; gives the sums over its training rows."""
        source, target = self._run / "data" / name, self._run / "latents" / name
        latents = encode_file(self._codec, source, target, self._device)
        return LatentSums.of(latents, self._config.held_out_cells)


def close_latents(run: Location, config: Config, parts: Sequence[LatentSums]) -> None:
    """Write the statistics over all files, given their sums in the order of the names, and close the stage."""
    statistics = functools.reduce(LatentSums.plus, parts).statistics()
    (run / "latents" / STATISTICS).write_json({"mean": statistics.mean, "std": statistics.std})
    finish(run, config, "latents")

"""The spaces, what each of them takes, the trainings that this allows, and the images that are looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mrigen import __version__
from mrigen.config import Config, parse_config
from mrigen.errors import InputError
from mrigen.images.index import Group, ImageIndex, ImageRow, content_hash, in_file_order
from mrigen.images.labelled import choose_per_cell
from mrigen.labels import Cell, all_cells
from mrigen.run import BorrowingRun, settings_of
from mrigen.storage import Location

PIXELS = "pixels"
SHARES = (0.125, 0.25, 0.5, 1.0)
"""Parts of a training after which samples are drawn."""
REAL_PER_CELL = 64
"""Held-out images of a cell that samples are compared with."""
SHARD_ROWS = 64
_DECIDING = ("seed", "held_out_cells", "precision", "data", "autoencoder", "denoiser", "diffusion", "sampler")


@dataclass(frozen=True)
class SpaceCost:
    """What a space takes: seconds before the denoiser is trained, of some of its steps, and for one sample in each of
    some batches; and the most memory that tensors take amid training, in bytes."""

    autoencoder_s: float
    encode_s: float
    step_s: Sequence[float]
    sample_s: Sequence[float]
    peak_bytes: int

    def seconds(self, num_steps: int) -> float:
        """Of the whole training, with so many steps of the denoiser, each the fastest: other work only adds."""
        return self.autoencoder_s + self.encode_s + num_steps * min(self.step_s)


@dataclass(frozen=True)
class SpaceTraining:
    """One training of the denoiser."""

    space: str
    num_steps: int

    @property
    def marks(self) -> tuple[int, ...]:
        """The steps after which samples are drawn."""
        return tuple(sorted({math.ceil(share * self.num_steps) for share in SHARES}))


@dataclass(frozen=True)
class Source:
    """Where images come from: samples of a training after a step; without a step real training images, restored by the
    codec of a space; without a space held-out real ones."""

    space: str = ""
    num_steps: int = 0
    step: int = 0


@dataclass(frozen=True)
class SpaceShard:
    """The unit of looking: real images, or samples as (cell, number of the sample)."""

    source: Source
    rows: tuple[ImageRow, ...] = ()
    samples: tuple[tuple[Cell, int], ...] = ()

    @property
    def ids(self) -> list[str]:
        """A name for every image, in the order in which they are looked at."""
        return [row.id for row in self.rows] or [f"{cell}-{number}" for cell, number in self.samples]


@dataclass(frozen=True)
class SpacesPlan:
    """The spaces with their settings, the images that samples are held against, and where work is kept."""

    run: Location
    folder: Location
    configs: Mapping[str, Config]
    index: ImageIndex
    """Its rows are held-out images, and training images of the same cells."""
    cells: tuple[Cell, ...]

    def space_run(self, space: str, denoiser: str = "") -> Location:
        """The run of a space, which borrows the data; or of one of its denoisers, which borrows the latents too."""
        own = self.folder / space
        borrowed = {"data": self.run / "data"}
        if denoiser:
            borrowed |= {name: own / name for name in ("vae", "latents")}
            own = own / denoiser
        return BorrowingRun(own.filesystem, own.path, own.query, borrowed)

    def training_run(self, training: SpaceTraining) -> Location:
        """The run of a denoiser."""
        return self.space_run(training.space, f"steps-{training.num_steps}")

    def training_config(self, training: SpaceTraining, **changes: Any) -> Config:
        """Its settings: no more than a tenth of the steps warm up, and nothing is shown amid them, which takes time."""
        tree, steps = self.configs[training.space].model_dump(mode="json"), training.num_steps
        settings = tree["denoiser"]["training"]
        warm = min(settings["warmup_steps"], steps // 10)
        settings |= {"num_steps": steps, "warmup_steps": warm, "preview_every": steps} | changes
        return parse_config(tree)

    def cost_file(self, space: str) -> Location:
        """Where the `SpaceCost` of a space is kept."""
        return self.folder / space / "cost.json"

    def read_costs(self) -> dict[str, SpaceCost]:
        """What each space takes, once all are measured."""
        return {space: SpaceCost(**self.cost_file(space).read_json()) for space in self.configs}


def plan_spaces(run: Location, config: Config, index: ImageIndex, device: str) -> SpacesPlan:
    """Plan for the cells that are trained and have held-out real images; `index` holds both splits.

    Raises InputError if there is no such cell, or images or networks do not fit a space.
    """
    groups: dict[Group, list[ImageRow]] = {Group.HELD_OUT: [], Group.REFERENCE: []}
    for row in index.rows:
        groups[row.group].append(row)
    trained, held_out = ({row.cell for row in groups[group]} for group in (Group.REFERENCE, Group.HELD_OUT))
    both = (trained & held_out) - set(map(Cell.parse, config.held_out_cells))
    if not both:
        raise InputError(
            f"no cell that is trained on has held-out real images in {run / 'data'}: prepare more subjects"
        )
    counts = {Group.HELD_OUT: REAL_PER_CELL, Group.REFERENCE: config.studies.samples_per_cell}
    rows = [
        row
        for group, some in groups.items()
        for row in in_file_order(choose_per_cell([row for row in some if row.cell in both], counts[group]))
    ]
    deciding = {name: value for name, value in settings_of(config).items() if name.partition(".")[0] in _DECIDING}
    key = content_hash([__version__, device, deciding, index.hashes])[:16]
    return SpacesPlan(
        run,
        run / ".cache" / "spaces" / key,
        {space: space_config(config, space) for space in config.studies.spaces},
        replace(index, rows=tuple(rows)),
        tuple(cell for cell in all_cells() if cell in both),
    )


def space_config(config: Config, space: str) -> Config:
    """The settings of a run in another space: pixels, or `f8` for latents of which each stands for 8 pixels a side.

    An autoencoder has the levels of the run's own one: fewer of them, or the coarsest once more. All is trained from
    random weights, and samples are guided by what each state of the denoiser knows itself. Raises InputError where
    image and networks do not fit.
    """
    tree = config.model_dump(mode="json")
    autoencoder, denoiser = tree["autoencoder"], tree["denoiser"]
    autoencoder["training"]["started_from"] = denoiser["training"]["started_from"] = None
    autoencoder["frozen_encoder"], denoiser["adapter_rank"], denoiser["early_share"] = False, 0, 0.0
    tree["sampler"]["guide"] = "cfg"
    tree["codec"] = "pixels" if space == PIXELS else "autoencoder"
    if space != PIXELS:
        own = autoencoder["block_channels"]
        num_levels = int(math.log2(int(space.removeprefix("f")))) + (autoencoder["network"] == "kl")
        autoencoder["block_channels"] = [*own, *own[-1:] * num_levels][:num_levels]
    try:
        return parse_config(tree)
    except InputError as error:
        raise InputError(f"studies.spaces: {space} does not fit: {error}") from None


def plan_trainings(costs: Mapping[str, SpaceCost], minutes: float) -> dict[str, list[SpaceTraining]]:
    """The trainings of all spaces that take the same time, `same_time`, and as many steps as the slowest of these,
    `same_steps`.

    Raises InputError where a space has no time left for a step.
    """
    numbers = {}
    for space, cost in costs.items():
        left = 60 * minutes - cost.seconds(0)
        step_s = cost.seconds(1) - cost.seconds(0)
        if (number := int(left / step_s)) < 1:
            raise InputError(
                f"studies.space_minutes {minutes:g}: in {space} the autoencoder and encoding took "
                f"{cost.seconds(0):.0f} s, which leaves no time for a step of {step_s:.2g} s: give more minutes, or "
                "lower autoencoder.training.num_steps"
            )
        numbers[space] = number
    fewest = min(numbers.values())
    return {
        "same_time": [SpaceTraining(space, number) for space, number in numbers.items()],
        "same_steps": [SpaceTraining(space, fewest) for space in numbers],
    }


def plan_shards(plan: SpacesPlan, trainings: Sequence[SpaceTraining], per_cell: int) -> list[SpaceShard]:
    """All images that are looked at, `per_cell` samples of every cell after each mark."""

    def real(source: Source, group: Group) -> Iterator[SpaceShard]:
        rows = [row for row in plan.index.rows if row.group == group]
        for start in range(0, len(rows), SHARD_ROWS):
            yield SpaceShard(source, rows=tuple(rows[start : start + SHARD_ROWS]))

    samples = [(cell, number) for cell in plan.cells for number in range(per_cell)]
    found = [*real(Source(), Group.HELD_OUT)]
    for space in plan.configs:
        found += real(Source(space), Group.REFERENCE)
    for training in trainings:
        for mark in training.marks:
            source = Source(training.space, training.num_steps, mark)
            for start in range(0, len(samples), SHARD_ROWS):
                found.append(SpaceShard(source, samples=tuple(samples[start : start + SHARD_ROWS])))
    return found

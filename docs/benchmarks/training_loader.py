"""Batches for the denoiser: the loader against a row-by-row one, and steps with and without prefetching.

    python docs/benchmarks/training_loader.py [--rows 1000 10000 100000] [--workers 4]
    python docs/benchmarks/training_loader.py --alone --rows 10000 100000 1000000

Rows are latents of the preset `quick` (4 x 16 x 16), in global batches of 32. A worker prepares its share of one;
before, it made the whole batch, row by row, and kept its share. The two take turns in one process, on one thread, so
that other work on the machine meets both alike: trust the ratios, not the rates. `--alone` runs the loader alone, in a
process for each number of rows, and tells the seconds of a core that opening takes, and the memory beyond the mapped
files.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from mrigen.config import Config, load_config
from mrigen.diffusion.process import NoiseSchedule
from mrigen.labels import all_cells
from mrigen.models.codec import Posterior
from mrigen.models.conditioning import Conditions, drop_conditions
from mrigen.models.denoiser import Denoiser
from mrigen.models.latent_space import LatentStatistics
from mrigen.records import latent_schema, write_table
from mrigen.storage import Location
from mrigen.training.objective import Draw, denoiser_loss
from mrigen.training.places import Places, RowOrder
from mrigen.training.prefetch import prefetched
from mrigen.training.rows import TrainingRows

FILE_ROWS = 1000
ROWS_OF_SUBJECT = 50
ROUNDS = 5
SECONDS = 1.0


def write_latents(folder: Location, num_rows: int, config: Config) -> None:
    """Parquet files of made-up latents, `FILE_ROWS` rows each."""
    generator = np.random.default_rng(0)
    schema = latent_schema(config.latent_shape)
    for start in range(0, num_rows, FILE_ROWS):
        size = min(FILE_ROWS, num_rows - start)
        cells = [all_cells()[k % 20] for k in range(size)]
        values = generator.standard_normal((2, size, int(np.prod(config.latent_shape))), np.float32).astype(np.float16)
        tensors = [
            pa.ExtensionArray.from_storage(
                schema.field("mean").type, pa.FixedSizeListArray.from_arrays(pa.array(half.ravel()), half.shape[1])
            )
            for half in values
        ]
        names = pa.array([f"row-{start + k}" for k in range(size)])
        labels = [pa.array([str(getattr(cell, name)) for cell in cells]) for name in ("pathology", "modality")]
        heights = pa.array(generator.uniform(-20, 46, size).astype(np.float32))
        subjects = pa.array([f"subject-{(start + k) // ROWS_OF_SUBJECT}" for k in range(size)])
        source, split = (pa.array([name] * size) for name in ("made up", "train"))
        columns = [names, subjects, source, *labels, split, heights, *tensors]
        write_table(pa.Table.from_arrays(columns, schema=schema), folder / f"part-{start:08d}.parquet")


class RowByRow:
    """How batches were made: a Python object a row, the whole batch in every worker, one row read after another."""

    def __init__(self, rows: TrainingRows, config: Config, statistics: LatentStatistics) -> None:
        every = np.arange(len(rows))
        self._columns = {name: list(rows.tensor(name, every).numpy().astype(np.float16)) for name in ("mean", "logvar")}
        # By cell, not by row: no figure hangs on which.
        self._cells = [cell for cell, count in rows.counts.items() for _ in range(count)]
        self._slice_mm = rows.slice_mm
        self._config, self._statistics = config, statistics

    def draw(self, batch: Iterable[int], step: int, rank: int, world: int) -> Draw:
        batch = [int(row) for row in batch]
        mean, logvar = (
            torch.from_numpy(np.stack([column[row] for row in batch]).astype(np.float32))
            for column in self._columns.values()
        )
        generator = torch.Generator().manual_seed(step)
        x0 = self._statistics.standardised(Posterior(mean, logvar).sample(torch.randn(mean.shape, generator=generator)))
        noise = torch.randn(mean.shape, generator=generator)
        strata = torch.randperm(len(batch), generator=generator) + torch.rand(len(batch), generator=generator)
        timesteps = (strata / len(batch) * self._config.diffusion.num_train_timesteps).long()
        conditions = Conditions.of([self._cells[row] for row in batch], [float(self._slice_mm[row]) for row in batch])
        uniform = torch.rand((len(batch), conditions.num_uniforms), generator=generator)
        conditions = drop_conditions(conditions, uniform, self._config.denoiser)
        share = slice(rank, None, world)
        return Draw(x0[share], noise[share], timesteps[share], conditions[share])


def rate(call: Callable[[int], object], steps: Iterable[int]) -> float:
    """Calls a second, over `SECONDS`."""
    start = time.perf_counter()
    for count, step in enumerate(steps, start=1):
        call(step)
        if (seconds := time.perf_counter() - start) >= SECONDS:
            return count / seconds
    raise AssertionError("the steps are endless")


def best(*calls: Callable[[int], object]) -> list[float]:
    """The highest rate of each, taking turns for `ROUNDS` rounds."""
    steps = itertools.count()
    rounds = [[rate(call, steps) for call in calls] for _ in range(ROUNDS)]
    return [max(rates) for rates in zip(*rounds, strict=True)]


def compare(rows: TrainingRows, config: Config, world: int) -> tuple[float, float]:
    """Batches a second of one worker of `world`: row by row, and by the loader."""
    statistics = statistics_of(config)
    size, before = config.denoiser.training.batch_size, RowByRow(rows, config, statistics)
    row_by_row, now = best(
        lambda step: before.draw(RowOrder(len(rows)).batch(size, 0, step), step, 0, world),
        lambda step: draw_share(rows, config, step, world),
    )
    return row_by_row, now


def draw_share(rows: TrainingRows, config: Config, step: int, world: int) -> Draw:
    places = Places.of_rank(0, world, config.denoiser.training.batch_size, 0, step)
    return Draw.of(rows, places.rows(rows.order()), places, config, statistics_of(config))


def statistics_of(config: Config) -> LatentStatistics:
    channels = config.latent_shape[0]
    return LatentStatistics((0.0,) * channels, (1.0,) * channels)


def compare_steps(rows: TrainingRows, config: Config) -> tuple[float, float]:
    """Steps a second, forwards and backwards: each batch made when it is asked for, and prefetched."""
    schedule, model = NoiseSchedule.build(config.diffusion), Denoiser.build(config)

    def learn(draw: Draw) -> None:
        model.zero_grad()
        denoiser_loss(model, draw, schedule, config).backward()

    ahead = prefetched(lambda step: draw_share(rows, config, step, 1), itertools.count())
    without, prefetching = best(lambda step: learn(draw_share(rows, config, step, 1)), lambda _: learn(next(ahead)[1]))
    return without, prefetching


def own_memory() -> int:
    """Bytes that this process holds beside files that it maps."""
    told = Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]
    return 1024 * int(told)


def alone(folder: Location, scratch: Path) -> None:
    """Print a row of the table of the loader alone."""
    torch.set_num_threads(1)
    config, before, start = load_config("quick"), own_memory(), time.process_time()
    rows = TrainingRows(folder, "train", ["mean", "logvar"], scratch)
    opened, order = time.process_time() - start, rows.order()
    size, statistics = config.denoiser.training.batch_size, statistics_of(config)

    def draw(step: int) -> Draw:
        places = Places.of_rank(0, 1, size, 0, step)
        return Draw.of(rows, places.rows(order), places, config, statistics)

    [batches] = best(draw)
    print(f"| {len(rows)} | {opened:.1f} | {(own_memory() - before) / 1e6:.0f} | {batches * size:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--alone", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config("quick")
    if arguments.alone:
        print("| rows | opened in s of a core | memory, MB | rows/s |\n| --- | --- | --- | --- |", flush=True)
        for num_rows in arguments.rows:
            with tempfile.TemporaryDirectory(prefix="mrigen-") as scratch:
                folder = Location.parse(Path(scratch) / "latents")
                write_latents(folder, num_rows, config)
                child = multiprocessing.get_context("spawn").Process(target=alone, args=(folder, Path(scratch)))
                child.start()
                child.join()
        return
    size = config.denoiser.training.batch_size
    print("| rows | opened in s | workers | rows/s of all, row by row | now | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for num_rows in arguments.rows:
        with tempfile.TemporaryDirectory(prefix="mrigen-") as scratch:
            folder = Location.parse(Path(scratch) / "latents")
            write_latents(folder, num_rows, config)
            start = time.perf_counter()
            rows = TrainingRows(folder, "train", ["mean", "logvar"], Path(scratch))
            opened = time.perf_counter() - start
            for world in sorted({1, arguments.workers}):
                slow, fast = (batches * size for batches in compare(rows, config, world))
                print(f"| {num_rows} | {opened:.2f} | {world} | {slow:.0f} | {fast:.0f} | {fast / slow:.2f} |")
    without, prefetching = compare_steps(rows, config)
    print(
        f"\nsteps/s without and with prefetching: {without:.2f}, {prefetching:.2f}; ratio {prefetching / without:.3f}"
    )


if __name__ == "__main__":
    main()

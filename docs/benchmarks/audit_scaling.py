"""How an audit grows: as many samples as training images of one cell, and a tenth as many held-out images.

    python docs/benchmarks/audit_scaling.py 10000 20000

Images of 64 pixels are made up and every tenth sample is a copy. In the place of EfficientNet-Lite0 stands one random
projection, so that the time of comparing shows and not that of a network; give `--network` to run it with the real
one. One process, one thread, no Ray: what `mrigen audit` gives to its workers, one after the other. Prints for each
size the seconds of both rounds, and the highest memory of the process above what it held before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from mrigen.audit.block_files import BlockMaker
from mrigen.audit.nearest import NeighbourFinder, decide_by_results
from mrigen.audit.pairing import plan_audit
from mrigen.config import Config, SamplerConfig
from mrigen.features.efficientnet import FeatureExtractor
from mrigen.images.index import index_generated, index_real
from mrigen.labels import Cell
from mrigen.records import image_schema, sample_schema, to_table, write_table
from mrigen.storage import Location

SIZE, ROWS_PER_FILE, CELL = 64, 1000, Cell.parse("Healthy:T1w")


def made_up_images(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Smooth noise within an ellipse."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(count, SIZE, SIZE)), (0, 2, 2))
    x, y = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    scaled = np.clip(noise / np.abs(noise).max((1, 2), keepdims=True) + 0.2, -1, 1)
    return np.where((x / 0.75) ** 2 + (y / 0.9) ** 2 < 1, scaled, -1).astype(np.float32)


def write_run(run: Path, num: int) -> None:
    """`num` training images, `num` samples, `num` // 10 held-out images."""
    labels = {"pathology": str(CELL.pathology), "modality": str(CELL.modality), "slice_mm": 0.0}
    constant = {
        "session": "",
        "source": "made up",
        "affine": [0.0] * 16,
        "lesions": None,
        "spacing_mm": 3.0,
        "licence": "",
    }
    for start in range(0, num, ROWS_PER_FILE):
        training, held_out = made_up_images(ROWS_PER_FILE, start), made_up_images(ROWS_PER_FILE // 10, start + 1)
        samples = made_up_images(ROWS_PER_FILE, start + 2)
        samples[::10] = np.clip(np.roll(training[::10], 1, axis=1), -1, 1)
        real = [("train", image) for image in training] + [("test", image) for image in held_out]
        rows = [
            labels
            | constant
            | {
                "id": f"{split}{start}-{k}",
                "subject": f"{split}{start}-{k // 10}",
                "split": split,
                "sha256": "",
                "image": image,
            }
            for k, (split, image) in enumerate(real)
        ]
        write_table(
            to_table(rows, image_schema((SIZE, SIZE))), Location.parse(run / "data" / f"part-{start:06d}.parquet")
        )
        sampler = {
            **SamplerConfig().model_dump(),
            "model_sha256": "",
            "path": "",
        }
        made = [
            labels
            | sampler
            | {
                "id": f"sample{start + k}",
                "shard": 0,
                "source": None,
                "trained_cell": True,
                "index": k,
                "seed": k,
                "file_sha256": "",
                "image": image,
            }
            for k, image in enumerate(samples)
        ]
        file = run / "samples" / "manifest" / f"shard-{start:06d}.parquet"
        write_table(to_table(made, sample_schema((SIZE, SIZE))), Location.parse(file))
    data = Location.parse(run / "data")
    (data / "_SUCCESS.json").write_json({"parts": {file.name: file.sha256() for file in data.files(".parquet")}})


def extractor(network: bool) -> Callable[[Tensor], Tensor]:
    """EfficientNet-Lite0, or a random projection to as many features."""
    if network:
        return FeatureExtractor(Config().evaluation.feature_size)
    weights = torch.randn(SIZE * SIZE, 1280, generator=torch.Generator().manual_seed(0))
    return lambda images: images.flatten(1) @ weights


def measure(run: Path, network: bool) -> None:
    """Audit a run in this process and print what it took."""
    torch.set_num_threads(1)
    config = Config()
    extract = extractor(network)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    real, made = index_real(Location.parse(run / "data"), "test"), index_generated(Location.parse(run / "samples"))
    plan, parts = plan_audit(real, made, config), Location.parse(run / "parts")
    started = time.monotonic()
    maker = BlockMaker(plan, config, parts, extract=extract)
    for shard in plan.shards:
        maker.make(shard)
    described = time.monotonic()
    finder = NeighbourFinder(plan, config, parts)
    for number in range(len(plan.searches)):
        finder.find(number)
    audit = decide_by_results(plan, parts, config.audit)
    ended = time.monotonic()
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{len(made.rows)} samples: described in {described - started:.0f} s, compared in {ended - described:.0f} s; "
        f"{memory:.0f} MB; {audit.matches.count} matches",
        flush=True,
    )


def main() -> None:
    """Each size in a process of its own, whose memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="+", type=int)
    parser.add_argument("--network", action="store_true")
    arguments = parser.parse_args()
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            for work, given in ((write_run, (Path(folder), size)), (measure, (Path(folder), arguments.network))):
                process = multiprocessing.get_context("spawn").Process(target=work, args=given)
                process.start()
                process.join()
                if process.exitcode:
                    raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()

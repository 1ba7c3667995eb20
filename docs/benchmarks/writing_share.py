"""What part of a worker's computing in `mrigen generate` is writing: packing images as files, and handing those over.

    python docs/benchmarks/writing_share.py [--samples 32] [--out FOLDER]

The embedded model makes one shard in this process as Parquet, as WebDataset and as BIDS, file after file. Prints CPU
time a sample, which work beside it does not stretch, of sampling, packing and publishing, and the time by the clock
that publishing takes with the sync to the disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time

from mrigen.cohort.order import Kind
from mrigen.cohort.plan import CohortPlan
from mrigen.cohort.shard import shard_files
from mrigen.labels import all_cells
from mrigen.pipeline import Pipeline
from mrigen.storage import Location


class Timed(Pipeline):
    """Tells how long it sampled."""

    sampling = 0.0

    def sample(self, *arguments):  # type: ignore[no-untyped-def]
        begun = time.thread_time()
        samples = super().sample(*arguments)
        self.sampling += time.thread_time() - begun
        return samples


def measure(pipeline: Timed, name: str, count: int, folder: str | None) -> str:
    cells = [cell for cell in all_cells() if pipeline.is_trained(cell)]
    quotas = {Kind(cell): -(-count // len(cells)) for cell in cells}
    plan = CohortPlan(pipeline.model_sha256, 0, pipeline.config.sampler, formats=(name,)).grown(quotas, count)
    pipeline.sampling = publishing = waiting = 0.0
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        out, started = Location.parse(scratch), time.thread_time()
        for path, content in shard_files(pipeline, plan, plan.shard(0)):
            begun = time.thread_time(), time.perf_counter()
            (out / path).write_bytes(content)
            publishing += time.thread_time() - begun[0]
            waiting += time.perf_counter() - begun[1]
        whole = time.thread_time() - started
    packing = whole - pipeline.sampling - publishing
    return (
        f"{name}: {1000 * pipeline.sampling / count:.1f} ms a sample sampling, {1000 * packing / count:.1f} packing, "
        f"{1000 * publishing / count:.1f} publishing ({1000 * waiting / count:.1f} by the clock): "
        f"{(packing + publishing) / whole:.1%} is writing"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--out", help="Folder on the disk to measure.  [default: that of temporary files]")
    arguments = parser.parse_args()
    pipeline = Timed.load()
    measure(pipeline, "parquet", 1, arguments.out)  # what is loaded once
    for name in ("parquet", "webdataset", "bids"):
        print(measure(pipeline, name, arguments.samples, arguments.out), flush=True)


if __name__ == "__main__":
    main()

"""What each condition, guidance and each solver step is good for: generation is done again without it.

Every setting generates the same cells from the same seeds, so that settings differ in nothing else. The images are
held against held-out real ones by KID within each cell, and the judge names their conditions. Real training images go
the same way as the samples: they give the floor.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mrigen import __version__
from mrigen.checkpoint import Model
from mrigen.condition_classifier.classifier import Classifier, Trained
from mrigen.condition_classifier.fidelity import Answers, ask
from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.evaluation.answered_images import ScoredImages
from mrigen.features.efficientnet import FeatureExtractor
from mrigen.images.index import Group, ImageIndex, ImageRow
from mrigen.images.labelled import LabelledImages, draw_per_cell
from mrigen.labels import Cell, all_cells
from mrigen.pipeline import Pipeline, SampleRequest
from mrigen.sampling import sample_seed
from mrigen.storage import Location
from mrigen.studies.ablation.settings import Setting, plan_settings, untold

REAL_PER_CELL = 64
"""Held-out images of a cell that samples are compared with."""
SHARD_ROWS = 64
COMPUTE_BATCH = 32


@dataclass(frozen=True)
class Shard:
    """The unit of work: real images of one group, or samples of one setting as (cell, number of the sample)."""

    group: Group
    rows: tuple[ImageRow, ...] = ()
    setting: Setting | None = None
    samples: tuple[tuple[Cell, int], ...] = ()
    key: str = field(default="", compare=False)


@dataclass(frozen=True)
class AblationPlan:
    """All that is generated and looked at; `model_sha256` names the model, `judge` the classifier."""

    index: ImageIndex
    settings: tuple[Setting, ...]
    cells: tuple[Cell, ...]
    shards: tuple[Shard, ...]
    model_sha256: str

    @property
    def lone_cells(self) -> list[Cell]:
        """Cells with held-out images of one subject only: with any of them there is no KID of all cells."""
        owners: dict[Cell, set[str]] = {cell: set() for cell in self.cells}
        for shard in self.shards:
            for row in shard.rows:
                if row.group == Group.HELD_OUT:
                    owners[row.cell].add(row.owner)
        return [cell for cell, names in owners.items() if len(names) == 1]


def make_plan(index: ImageIndex, model: Model, config: Config, judge_key: str) -> AblationPlan:
    """Plan for the cells that the model was trained on and that have held-out real images; `index` holds both splits.

    Raises InputError if there is no such cell, or an image has another shape than the model's.
    """
    size = model.config.data.image_size
    if index.shape and set(index.shape) != {size}:
        raise InputError(
            f"the model makes images of {size} x {size} pixels and the real ones have shape {list(index.shape)}: "
            "ablate a model that was trained on this data"
        )
    held_out = [row for row in index.rows if row.group == Group.HELD_OUT]
    both = {row.cell for row in held_out if model.training_counts.get(row.cell)}
    cells = tuple(cell for cell in all_cells() if cell in both)
    if not cells:
        raise InputError("no cell that the model was trained on has held-out real images: nothing to compare with")
    count = config.studies.samples_per_cell
    reference = [row for row in index.rows if row.group == Group.REFERENCE]
    here = {row for row in held_out if row.cell in cells}, {row for row in reference if row.cell in cells}
    samples = [(cell, number) for cell in cells for number in range(count)]
    settings = tuple(plan_settings(config))
    shards = [
        *(Shard(Group.HELD_OUT, tuple(rows)) for rows in _cut(draw_per_cell(list(here[0]), REAL_PER_CELL))),
        *(Shard(Group.REFERENCE, tuple(rows)) for rows in _cut(draw_per_cell(list(here[1]), count))),
        *(Shard(Group.GENERATED, (), one, tuple(some)) for one in settings for some in _cut(samples)),
    ]
    looks = {
        "version": __version__,
        "seed": config.seed,
        "model": model.sha256,
        "judge": judge_key,
        "feature_size": config.evaluation.feature_size,
    }
    keyed = tuple(dataclasses.replace(shard, key=_key(shard, looks)) for shard in shards)
    return AblationPlan(dataclasses.replace(index, rows=()), settings, cells, keyed, model.sha256)


def _cut(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + SHARD_ROWS] for start in range(0, len(items), SHARD_ROWS)]


def _key(shard: Shard, looks: Mapping[str, Any]) -> str:
    """A hash of all that a shard's part depends on; for real images that is neither model nor seed."""
    if shard.setting is None:
        some = {name: looks[name] for name in ("version", "judge", "feature_size")}
        content = {**some, "rows": [[row.id, row.sha256, str(row.cell)] for row in shard.rows]}
    else:
        sampler = shard.setting.sampler.model_dump(mode="json")
        samples = [[str(cell), number] for cell, number in shard.samples]
        content = {**looks, "sampler": sampler, "drop": str(shard.setting.drop), "samples": samples}
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()[:32]


PART_SCHEMA = pa.schema(
    [
        ("cell", pa.string()),
        ("owner", pa.string()),
        ("features", pa.list_(pa.binary())),
        ("pathology", pa.binary()),
        ("modality", pa.binary()),
        ("image", pa.binary()),
    ]
)
"""A row an image: features as bytes of float32 for each of `extractor_names`, logits as bytes of float64; of the first
sample of each cell the pixels too, as bytes of float16."""


def extractor_names() -> tuple[str, ...]:
    """Whose features images are compared by, the leading one first."""
    return FeatureExtractor.name, Classifier.name


class ShardWorker:
    """Holds the networks and does one shard after another: the same bits on one thread, whoever does it."""

    def __init__(self, plan: AblationPlan, model: Model, judge: Trained, config: Config, device: str = "cpu") -> None:
        self._plan, self._model, self._device, self._config = plan, model, device, config
        self._judge = judge
        judge.classifier.to(device)
        self._extractor = FeatureExtractor(config.evaluation.feature_size).to(device)

    def __call__(self, number: int) -> pa.Table:
        """Generate, or read, and look at shard `number` of the plan."""
        shard = self._plan.shards[number]
        images = self._generate(shard) if shard.setting else LabelledImages.read(self._plan.index, shard.rows)
        if not np.isfinite(images.pixels).all():
            raise InputError(f"the model makes values that are not finite with {shard.setting}: train it again")
        answers, features = ask(self._judge, images), self._features(images)
        shown = {cell: place for place, cell in reversed(list(enumerate(images.cells)))} if shard.setting else {}
        rows = [
            {
                "cell": str(cell),
                "owner": images.owners[place],
                "features": [vectors[place].tobytes() for vectors in features],
                "pathology": answers.pathology[place].tobytes(),
                "modality": answers.modality[place].tobytes(),
                "image": images.pixels[place].tobytes() if shown.get(cell) == place else None,
            }
            for place, cell in enumerate(images.cells)
        ]
        return pa.Table.from_pylist(rows, schema=PART_SCHEMA)

    def _generate(self, shard: Shard) -> LabelledImages:
        assert shard.setting is not None
        pipeline = Pipeline(untold(self._model, shard.setting.drop), self._device)
        requests = [
            SampleRequest(cell, sample_seed(self._config.seed, cell, number), shard.setting.sampler)
            for cell, number in shard.samples
        ]
        pixels = np.stack([sample.image for sample in pipeline.sample(requests)]).astype(np.float16)
        cells = tuple(cell for cell, _ in shard.samples)
        return LabelledImages(pixels, cells, tuple(f"{cell}-{number}" for cell, number in shard.samples))

    def _features(self, images: LabelledImages) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        found: list[list[torch.Tensor]] = [[], []]
        with torch.inference_mode():
            for start in range(0, len(images), COMPUTE_BATCH):
                pixels = images.pixels[start : start + COMPUTE_BATCH].astype(np.float32)
                batch = torch.from_numpy(pixels)[:, None].to(self._device)
                found[0].append(self._extractor(batch))
                found[1].append(self._judge.classifier.features(batch))
        return [torch.cat(parts).float().cpu().numpy() for parts in found]


def part_is_whole(part: Location, shard: Shard) -> bool:
    """Whether the part of that shard stands there, readable and complete."""
    if not part.is_file():
        return False
    try:
        table = pq.read_table(io.BytesIO(part.read_bytes()), page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError):
        return False
    return bool(table.schema.equals(PART_SCHEMA)) and table.num_rows == len(shard.rows or shard.samples)


def read_scored(table: pa.Table) -> ScoredImages:
    """A part's images as features and answers."""
    rows = table.to_pylist()
    features = {
        name: np.stack([np.frombuffer(row["features"][place], np.float32) for row in rows])
        for place, name in enumerate(extractor_names())
    }
    pathology, modality = (
        np.stack([np.frombuffer(row[name], np.float64) for row in rows]) for name in ("pathology", "modality")
    )
    cells = tuple(Cell.parse(row["cell"]) for row in rows)
    return ScoredImages(features, Answers(pathology, modality, cells, tuple(row["owner"] for row in rows), {}))

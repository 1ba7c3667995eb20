"""What is seen of the images of each shard, generated or real: features, answers and pictures, a Parquet file each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from mrigen.condition_classifier.fidelity import Answers, ask
from mrigen.condition_classifier.store import ClassifierPlan, find_or_train
from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.evaluation.answered_images import ScoredImages
from mrigen.features.efficientnet import COMPUTE_BATCH, FeatureExtractor
from mrigen.features.names import EFFICIENTNET, MRI
from mrigen.images.labelled import LabelledImages
from mrigen.labels import Cell
from mrigen.model_folder.files import Model, load_model
from mrigen.pipeline import Pipeline
from mrigen.records import is_whole, write_table
from mrigen.samples import SampleRequest, sample_seed
from mrigen.storage import Location
from mrigen.studies.ablation.settings import untold
from mrigen.studies.ablation.shards import AblationPlan, AblationShard

EXTRACTORS = (EFFICIENTNET, MRI)
"""Whose features images are compared by, the leading one first."""

SHARD_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("cell", pa.string()),
        ("owner", pa.string()),
        ("features", pa.list_(pa.binary())),
        ("pathology", pa.binary()),
        ("modality", pa.binary()),
        ("image", pa.binary()),
    ]
)
"""A row an image: features as bytes of float32 for each of EXTRACTORS, logits as bytes of float64; of the first
sample of each cell the pixels too, as bytes of float16."""


class AblationNetworks:
    """What generates and looks at images, held by a worker for one shard after another: the same bits on one thread,
    whoever does it."""

    def __init__(
        self,
        plan: AblationPlan,
        run: Location,
        config: Config,
        classifier: ClassifierPlan,
        classifiers: Location,
        folder: Location,
        device: str = "cpu",
    ) -> None:
        """The model is that of `run`, the classifier stands in `classifiers`, and results are left in `folder`. Raises
        InputError if the model is not that of the plan."""
        self._index, self._config, self._folder, self._device = plan.index, config, folder, device
        self._model = run_model(run)
        if self._model.sha256 != plan.model_sha256:
            raise InputError(f"the model in {run} changed since the ablation was planned: run it again")
        self._trained = find_or_train(classifier, config, classifiers, device)
        self._trained.classifier.to(device)
        self._extractor = FeatureExtractor(config.evaluation.feature_size).to(device)

    def look(self, shard: AblationShard) -> None:
        """Publish what is seen of a shard's images, unless that is there and whole."""
        file = shard_file(self._folder, shard)
        if not is_whole(file, shard.ids, SHARD_SCHEMA):
            write_table(self._seen(shard), file)

    def _seen(self, shard: AblationShard) -> pa.Table:
        images = self._generate(shard) if shard.setting else LabelledImages.read(self._index, shard.rows)
        if not np.isfinite(images.pixels).all():
            raise InputError(f"the model makes values that are not finite with {shard.setting}: train it again")
        answers, features = ask(self._trained, images), self._features(images)
        shown = {cell: place for place, cell in reversed(list(enumerate(images.cells)))} if shard.setting else {}
        ids = shard.ids
        rows = [
            {
                "id": ids[place],
                "cell": str(cell),
                "owner": images.owners[place],
                "features": [vectors[place].tobytes() for vectors in features],
                "pathology": answers.pathology[place].tobytes(),
                "modality": answers.modality[place].tobytes(),
                "image": images.pixels[place].tobytes() if shown.get(cell) == place else None,
            }
            for place, cell in enumerate(images.cells)
        ]
        return pa.Table.from_pylist(rows, schema=SHARD_SCHEMA)

    def _generate(self, shard: AblationShard) -> LabelledImages:
        assert shard.setting is not None
        pipeline = Pipeline(untold(self._model, shard.setting.drop), self._device)
        requests = [
            SampleRequest(cell, sample_seed(self._config.seed, cell, number), shard.setting.sampler)
            for cell, number in shard.samples
        ]
        pixels = np.stack([sample.image for sample in pipeline.sample(requests)]).astype(np.float16)
        cells = tuple(cell for cell, _ in shard.samples)
        return LabelledImages(pixels, cells, tuple(shard.ids))

    def _features(self, images: LabelledImages) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        batches = torch.split(torch.from_numpy(images.pixels.astype(np.float32))[:, None], COMPUTE_BATCH)
        with torch.inference_mode():
            return [
                torch.cat([extract(batch.to(self._device)) for batch in batches]).float().cpu().numpy()
                for extract in (self._extractor, self._trained.classifier.features)
            ]


def run_model(run: Location) -> Model:
    """The model of a run. Raises InputError if there is none."""
    if not (run / "model").is_folder():
        raise InputError(f"no model in {run}: run `mrigen train-ldm` first")
    with (run / "model").as_local() as local:
        return load_model(local)


def shard_file(folder: Location, shard: AblationShard) -> Location:
    """Where what was seen of a shard lies."""
    return folder / f"shard-{shard.key}.parquet"


def read_scored(table: pa.Table) -> ScoredImages:
    """The images of a shard as features and answers."""
    rows = table.to_pylist()
    features = {
        name: np.stack([np.frombuffer(row["features"][place], np.float32) for row in rows])
        for place, name in enumerate(EXTRACTORS)
    }
    pathology, modality = (
        np.stack([np.frombuffer(row[name], np.float64) for row in rows]) for name in ("pathology", "modality")
    )
    cells = tuple(Cell.parse(row["cell"]) for row in rows)
    return ScoredImages(features, Answers(pathology, modality, cells, tuple(row["owner"] for row in rows), {}))

"""What is seen of the images of each shard: features by EfficientNet-Lite0, and some pictures, a Parquet file each."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load

from mrigen.config import Config
from mrigen.diffusion.sampling import sample_noise
from mrigen.errors import InputError
from mrigen.features.efficientnet import COMPUTE_BATCH, FeatureExtractor
from mrigen.images.index import content_hash
from mrigen.images.labelled import LabelledImages
from mrigen.model_folder.files import load_codec, load_model
from mrigen.pipeline import Pipeline
from mrigen.records import is_whole, write_table
from mrigen.samples import SampleRequest, sample_seed
from mrigen.storage import Location
from mrigen.studies.spaces.plan import SpaceShard, SpacesPlan, SpaceTraining
from mrigen.training.ldm import averaged_file

SEEN_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("cell", pa.string()),
        ("owner", pa.string()),
        ("features", pa.binary()),
        ("image", pa.binary()),
    ]
)
"""A row an image: features as bytes of float32; of the first sample of each cell the pixels, as bytes of float16."""


class SpaceNetworks:
    """What draws samples and looks at images, held by a worker for one shard after another: the same bits on one
    thread, whoever does it."""

    def __init__(self, plan: SpacesPlan, config: Config, device: str = "cpu") -> None:
        self._plan, self._config, self._device = plan, config, device
        self._extractor = FeatureExtractor(config.evaluation.feature_size).to(device)

    def look(self, shard: SpaceShard) -> None:
        """Publish what is seen of a shard's images, unless that is there and whole."""
        file = shard_file(self._plan, self._config, shard)
        if not is_whole(file, shard.ids, SEEN_SCHEMA):
            write_table(self._seen(shard), file)

    def _seen(self, shard: SpaceShard) -> pa.Table:
        images = self._drawn(shard) if shard.samples else self._real(shard)
        if not np.isfinite(images.pixels).all():
            raise InputError(f"images of {shard.source} hold values that are not finite: the training broke down")
        shown = {cell: place for place, cell in reversed(list(enumerate(images.cells)))} if shard.samples else {}
        batches = torch.split(torch.from_numpy(images.pixels.astype(np.float32))[:, None], COMPUTE_BATCH)
        with torch.inference_mode():
            features = torch.cat([self._extractor(batch.to(self._device)) for batch in batches]).float().cpu().numpy()
        rows = [
            {
                "id": name,
                "cell": str(cell),
                "owner": images.owners[place],
                "features": features[place].tobytes(),
                "image": images.pixels[place].tobytes() if shown.get(cell) == place else None,
            }
            for place, (name, cell) in enumerate(zip(shard.ids, images.cells, strict=True))
        ]
        return pa.Table.from_pylist(rows, schema=SEEN_SCHEMA)

    def _drawn(self, shard: SpaceShard) -> LabelledImages:
        """Samples by the averaged weights after a step."""
        training = SpaceTraining(shard.source.space, shard.source.num_steps)
        run = self._plan.training_run(training)
        with (run / "model").as_local() as folder:
            model = load_model(folder)
        model.denoiser.load_state_dict(load(averaged_file(run, shard.source.step).read_bytes()))
        requests = [
            SampleRequest(cell, sample_seed(self._config.seed, cell, number), model.config.sampler)
            for cell, number in shard.samples
        ]
        samples = Pipeline(model, self._device).sample(requests)
        pixels = np.stack([sample.image for sample in samples]).astype(np.float16)
        return LabelledImages(pixels, tuple(cell for cell, _ in shard.samples), tuple(shard.ids))

    @torch.no_grad()
    def _real(self, shard: SpaceShard) -> LabelledImages:
        """Real images, as the codec of a space restores them where one is asked for."""
        images = LabelledImages.read(self._plan.index, shard.rows)
        if not (space := shard.source.space):
            return images
        codec = load_codec(self._plan.configs[space], self._plan.space_run(space) / "vae").to(self._device)
        pixels = torch.from_numpy(images.pixels.astype(np.float32))[:, None]
        noise = sample_noise(range(len(pixels)), tuple(pixels.shape[1:]))
        restored = [
            codec.decode(codec.encode(batch.to(self._device)).mean, drawn.to(self._device)).clamp(-1.0, 1.0).cpu()
            for batch, drawn in zip(*(torch.split(one, COMPUTE_BATCH) for one in (pixels, noise)), strict=True)
        ]
        return LabelledImages(torch.cat(restored)[:, 0].numpy().astype(np.float16), images.cells, images.owners)


def shard_file(plan: SpacesPlan, config: Config, shard: SpaceShard) -> Location:
    """Where what was seen of a shard lies: named by what is not told by the plan's folder."""
    source = shard.source
    looked = [source.space, source.num_steps, source.step, config.evaluation.feature_size, shard.ids]
    return plan.folder / "seen" / f"{content_hash(looked)[:32]}.parquet"

"""The pipeline: a sample is a function of its request alone, and says of itself what it must."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mrigen.config import SamplerConfig
from mrigen.errors import InputError
from mrigen.labels import Cell, all_cells
from mrigen.pipeline import Pipeline
from mrigen.samples import SampleRequest, sample_seed

SAMPLER = SamplerConfig(solver="ddim", num_steps=3, guidance_scale=2.0, compute_batch=8)


@pytest.fixture(scope="module")
def pipeline(tiny_run) -> Pipeline:
    return Pipeline.load(tiny_run / "model")


def request(cell: Cell, index: int = 0, **settings: object) -> SampleRequest:
    return SampleRequest(cell, sample_seed(0, cell, index), SAMPLER.model_copy(update=settings))


def test_neither_neighbours_nor_position_change_a_bit(pipeline):
    requests = [request(cell) for cell in all_cells()]
    together = pipeline.sample(requests)
    reversed_ = pipeline.sample(requests[::-1])[::-1]
    alone = pipeline.sample([requests[13]])[0]
    for first, second in zip(together, reversed_, strict=True):
        np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(alone.image, together[13].image)


def test_a_mixture_of_settings_is_answered_in_order_and_as_if_alone(pipeline):
    cell = Cell.parse("Healthy:T2w")
    requests = [
        request(cell, index, **settings)
        for index, settings in enumerate(
            [
                {"num_steps": 2},
                {"solver": "dpmpp-2m"},
                {"solver": "ddpm"},
                {"guidance_scale": 1.0},
                {"guidance_scale": 5.0},
                {},
            ]
        )
    ]
    for sample, one in zip(pipeline.sample(requests), requests, strict=True):
        assert sample.request == one
        np.testing.assert_array_equal(sample.image, pipeline.sample([one])[0].image)


def test_work_ends_at_the_step_before_which_it_is_told_to(pipeline):
    asked = []

    def before_step() -> None:
        asked.append(len(asked))
        if len(asked) == 5:
            raise KeyboardInterrupt

    requests = [request(cell) for cell in all_cells()]  # three batches of three steps
    with pytest.raises(KeyboardInterrupt):
        pipeline.sample(requests, before_step)
    assert len(asked) == 5
    pipeline.sample(requests[:8], lambda: asked.append(0))
    assert len(asked) == 8


def test_other_batch_sizes_agree_closely(pipeline):
    cell = Cell.parse("Healthy:T2w")
    images = [pipeline.sample([request(cell, compute_batch=size)])[0].image for size in (1, 2, 8)]
    np.testing.assert_allclose(images[0], images[2], atol=1e-4)
    np.testing.assert_allclose(images[1], images[2], atol=1e-4)


def test_bf16_gives_nearly_the_same_images_in_batches_of_their_own(pipeline):
    cell = Cell.parse("Healthy:T2w")
    exact, rough = pipeline.sample([request(cell), request(cell, precision="bf16")])
    assert 0 < np.abs(rough.image - exact.image).mean() < 0.02
    np.testing.assert_array_equal(exact.image, pipeline.sample([request(cell)])[0].image)
    assert rough.provenance()["precision"] == "bf16"


def test_the_number_of_threads_changes_no_bit_and_is_put_back(pipeline):
    before = torch.get_num_threads()
    one = request(Cell.parse("Healthy:T2w"))
    torch.set_num_threads(1)
    first = pipeline.sample([one])[0].image
    torch.set_num_threads(2)
    second = pipeline.sample([one])[0].image
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    np.testing.assert_array_equal(first, second)


def test_seed_cell_guidance_and_slice_each_change_the_image(pipeline):
    cell = Cell.parse("Healthy:T2w")
    base = SampleRequest(cell, 1, SAMPLER, slice_mm=3.0)
    others = [
        SampleRequest(cell, 2, SAMPLER, slice_mm=3.0),
        SampleRequest(Cell.parse("Healthy:PD"), 1, SAMPLER, slice_mm=3.0),
        SampleRequest(Cell.parse("Dementia:T2w"), 1, SAMPLER, slice_mm=3.0),
        SampleRequest(cell, 1, SAMPLER.model_copy(update={"guidance_scale": 4.0}), slice_mm=3.0),
        SampleRequest(cell, 1, SAMPLER, slice_mm=9.0),
    ]
    image = pipeline.sample([base])[0].image
    for sample in pipeline.sample(others):
        assert np.abs(sample.image - image).max() > 1e-4


def test_no_guidance_is_the_conditional_model(pipeline):
    """Scale 1 runs one branch; it must equal guidance mixed with weight 1, up to the batch's last bits."""
    cell = Cell.parse("Healthy:T2w")
    plain = pipeline.sample([request(cell, guidance_scale=1.0)])[0].image
    mixed = pipeline.sample([request(cell, guidance_scale=1.0 + 1e-6)])[0].image
    np.testing.assert_allclose(plain, mixed, atol=1e-4)


def test_guidance_acts_within_its_interval_alone(pipeline):
    cell = Cell.parse("Healthy:T2w")
    plain, nowhere, late, everywhere = (
        pipeline.sample([request(cell, **settings)])[0].image
        for settings in (
            {"guidance_scale": 1.0},
            {"guidance_interval": (0.0, 0.1)},  # three steps are none of them that near to the end
            {"guidance_interval": (0.0, 0.5)},
            {},
        )
    )
    np.testing.assert_array_equal(plain, nowhere)
    assert all(np.abs(late - other).max() > 1e-4 for other in (plain, everywhere))


def test_terms_of_guidance_add_up(pipeline):
    """Both terms at once differ from each alone; and of a scale of zero nothing is left."""
    cell = Cell.parse("Healthy:T2w")
    images = [
        pipeline.sample([request(cell, guidance_scale=0.0, pathology_scale=p, modality_scale=m)])[0].image
        for p, m in ((0.0, 0.0), (2.0, 0.0), (0.0, 2.0), (2.0, 2.0), (1e-6, 1e-6))
    ]
    for k, image in enumerate(images[1:4], start=1):
        assert all(np.abs(image - other).max() > 1e-4 for other in images[:k])
    np.testing.assert_allclose(images[4], images[0], atol=1e-4)


def test_slices_are_drawn_from_the_training_distribution(pipeline):
    requests = [request(Cell.parse("Healthy:T2w"), index) for index in range(200)]
    heights = [pipeline.slice_mm_of(one) for one in requests]
    quantiles = pipeline.model.slice_mm_quantiles
    assert min(heights) >= quantiles[0]
    assert max(heights) <= quantiles[-1]
    assert np.median(heights) == pytest.approx(quantiles[50], abs=0.25 * (quantiles[-1] - quantiles[0]))
    assert pipeline.slice_mm_of(SampleRequest(all_cells()[0], 0, SAMPLER, slice_mm=1.5)) == 1.5


def test_a_sample_says_how_to_make_it_again(pipeline):
    sample = pipeline.sample([request(Cell.parse("Sclerosis:PD"))])[0]
    told = sample.provenance()
    assert told["synthetic"] is True
    assert told["trained_cell"] is False
    again = SampleRequest(
        Cell.parse(f"{told['pathology']}:{told['modality']}"),
        told["seed"],
        SamplerConfig(**{name: told[name] for name in SamplerConfig.model_fields}),
    )
    assert told["model_sha256"] == pipeline.model_sha256
    np.testing.assert_array_equal(pipeline.sample([again])[0].image, sample.image)


def test_a_volume_is_a_slice_in_millimetres(pipeline):
    sample = pipeline.sample([request(Cell.parse("Healthy:T2w"))])[0]
    volume = sample.volume()
    size, spacing = pipeline.config.data.image_size, pipeline.config.data.spacing_mm
    assert volume.array.shape == (size, size, 1)
    assert 0 <= volume.array.min() <= volume.array.max() <= 1000
    np.testing.assert_allclose(volume.array[..., 0] / 500 - 1, sample.image, atol=1e-4)
    centre = volume.affine @ [(size - 1) / 2, (size - 1) / 2, 0, 1]
    np.testing.assert_allclose(centre[:3], [0, 0, sample.slice_mm], atol=1e-6)
    np.testing.assert_allclose(volume.spacing_mm, [spacing] * 3)


def test_untrained_cells_are_named(pipeline):
    assert not pipeline.is_trained(Cell.parse("Sclerosis:PD"))
    with pytest.raises(InputError) as error:
        pipeline.model.require_trained(all_cells(), "or do this")
    trained = ",".join(str(cell) for cell in all_cells() if cell != Cell.parse("Sclerosis:PD"))
    assert str(error.value) == (
        f"never seen in training: Sclerosis:PD; choose of those that were (--cells {trained}), or do this"
    )


def test_a_folder_is_named_by_its_path(pipeline, tiny_run, tmp_path):
    assert Pipeline.load(str(tiny_run / "model")).model_sha256 == pipeline.model_sha256
    with pytest.raises(InputError, match=f"^there is no model folder {tmp_path}/none$"):
        Pipeline.load(f"{tmp_path}/none")

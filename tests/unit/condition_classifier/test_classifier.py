from __future__ import annotations

import numpy as np
import pytest
import torch

from mrigen.condition_classifier.classifier import (
    Classifier,
    Trained,
    augmented,
    calibrate,
    cell_weights,
    classify,
    fit_temperature,
    nll,
    train_classifier,
)
from mrigen.images.labelled import LabelledImages
from tests.fake_classes import CELLS, SIDE, made_up


def train(*sources: LabelledImages, val: LabelledImages | None = None, num_steps: int = 40) -> Trained:
    generator = torch.Generator().manual_seed(3)
    return train_classifier(sources, val, num_steps=num_steps, generator=generator, flips=True)


def right(trained: Trained, images: LabelledImages) -> tuple[float, float]:
    """Shares of pathologies and modalities named right."""
    pathology, modality = classify(trained.classifier, images.pixels)
    return (
        float(np.mean(pathology.argmax(1) == [cell.pathology.row for cell in images.cells])),
        float(np.mean(modality.argmax(1) == [cell.modality.row for cell in images.cells])),
    )


def test_made_up_classes_are_told_apart_and_shuffled_ones_are_not() -> None:
    test = made_up(CELLS, 30, seed=2)
    assert min(right(train(made_up(CELLS, 30, seed=1)), test)) > 0.95
    for share in right(train(made_up(CELLS, 30, seed=1, shuffled=True)), test):
        assert 0.3 < share < 0.7


def test_one_thread_and_one_seed_give_equal_bits() -> None:
    images = made_up(CELLS, 8, seed=1)
    first, second = (train(images, val=images, num_steps=5).classifier.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_weights_of_the_lowest_validation_loss_are_kept_and_calibrated() -> None:
    val = made_up(CELLS, 10, seed=5, shuffled=True)  # learning the training labels only makes it worse
    trained = train(made_up(CELLS, 10, seed=1), val=val, num_steps=40)
    assert len(trained.checks) == 10
    totals = [check.pathology + check.modality for check in trained.checks]
    assert min(totals) < totals[-1]
    trained.classifier.temperatures.fill_(1.0)
    logits = classify(trained.classifier, val.pixels)
    rows = [[cell.pathology.row for cell in val.cells], [cell.modality.row for cell in val.cells]]
    kept = sum(nll(one, np.array(labels), cell_weights(val)) for one, labels in zip(logits, rows, strict=True))
    assert kept == pytest.approx(min(totals))


def test_calibration_lowers_the_loss_of_an_overconfident_network() -> None:
    val = made_up(CELLS, 20, seed=4)
    classifier = train(made_up(CELLS, 20, seed=1), num_steps=10).classifier
    labels, weights = np.array([cell.pathology.row for cell in val.cells]), cell_weights(val)
    with torch.no_grad():
        classifier.pathology.weight.mul_(10.0)
    before = nll(classify(classifier, val.pixels)[0], labels, weights)
    calibrate(classifier, val)
    assert classifier.temperatures[0] > 2.0
    assert nll(classify(classifier, val.pixels)[0], labels, weights) < before


def test_the_temperature_of_logits_that_are_three_times_too_large_is_three() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (20_000, 4))
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (chances.cumsum(1) > generator.random((len(logits), 1))).argmax(1)
    assert fit_temperature(3.0 * logits, labels, np.ones(len(labels))) == pytest.approx(3.0, rel=0.05)


def test_the_loss_of_a_guess_is_the_logarithm_of_the_classes() -> None:
    assert nll(np.zeros((3, 4)), np.array([0, 1, 3]), np.array([1.0, 2.0, 5.0])) == pytest.approx(np.log(4))


def test_every_source_has_its_share_of_a_batch_however_small_it_is() -> None:
    large, small = made_up(CELLS[:2], 100, seed=1), made_up(CELLS[2:], 3, seed=1)
    trained = train(large, small)
    assert min(right(trained, made_up(CELLS, 20, seed=2))) > 0.8
    assert trained.counts == {CELLS[0]: 100, CELLS[1]: 100, CELLS[2]: 3, CELLS[3]: 3}
    assert trained.checks == ()


def test_a_rare_cell_is_drawn_as_often_as_a_frequent_one() -> None:
    frequent, rare = made_up(CELLS[:2], 100, seed=1), made_up(CELLS[2:], 3, seed=1)
    together = LabelledImages(
        np.concatenate([frequent.pixels, rare.pixels]), frequent.cells + rare.cells, frequent.owners + rare.owners
    )
    assert min(right(train(together), made_up(CELLS, 20, seed=2))) > 0.8


@pytest.mark.parametrize("flips", [True, False])
def test_augmentation_flips_the_first_axis_only_and_only_where_told(flips: bool) -> None:
    image = torch.full((1, 1, SIDE, SIDE), -1.0)
    image[0, 0, 3, 5] = 0.6
    changed = augmented(image.repeat(200, 1, 1, 1), torch.Generator().manual_seed(0), flips=flips)
    assert changed.min() >= -1.0
    assert changed.max() <= 1.0
    where = {divmod(int(one.argmax()), SIDE) for one in changed[:, 0]}
    rows, columns = {row for row, _ in where}, {column for _, column in where}
    assert columns == {4, 5, 6}
    assert rows == ({2, 3, 4, 11, 12, 13} if flips else {2, 3, 4})


@pytest.mark.parametrize("shape", [(2, 1, 12, 16), (2, 3, 16, 16), (16, 16)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images must be \(B, 1, S, S\) with S a multiple of 8"):
        Classifier(torch.Generator())(torch.zeros(shape))


def test_a_source_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="needs training images"):
        train(made_up(CELLS, 2, seed=1), made_up((), 0, seed=1))

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from mrigen.metrics.accuracy import accuracy_interval, balanced_accuracy, calibration_error, confusion, wilson
from mrigen.metrics.resampling import seeded


@pytest.mark.parametrize(("count", "n"), [(0, 10), (10, 10), (3, 7), (90, 200)])
def test_wilson_is_that_of_scipy(count: int, n: int) -> None:
    ends = binomtest(count, n).proportion_ci(0.95, "wilson")
    assert wilson(count / n, n) == pytest.approx((ends.low, ends.high), abs=1e-6)


def accuracy(correct: list[int], classes: list[int], cells: list[int], weights: list[float]) -> float:
    owners = np.arange(len(correct))
    found = balanced_accuracy(
        np.array(correct, float), np.array(classes), np.array(cells), owners, np.array([weights], float)
    )
    return float(found[0])


def test_classes_weigh_the_same_and_cells_within_a_class() -> None:
    # Class 0: cell 0 with 1 of 4 right, cell 1 with 1 of 1. Class 1: none of 2.
    correct, classes, cells = [1, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 2, 2]
    assert accuracy(correct, classes, cells, [1.0] * 7) == pytest.approx(((0.25 + 1.0) / 2 + 0.0) / 2)
    assert accuracy(correct, classes, cells, [1, 0, 0, 0, 1, 1, 1]) == pytest.approx(0.5)
    assert np.isnan(accuracy(correct, classes, cells, [1, 1, 1, 1, 0, 1, 1]))


def test_one_answer_for_all_reaches_what_a_guess_does() -> None:
    classes = [0] * 90 + [1] * 10
    assert accuracy([1] * 90 + [0] * 10, classes, classes, [1.0] * 100) == 0.5


def interval(correct: list[int], owners: list[int]) -> tuple[float, float] | None:
    zeros = np.zeros(len(correct), np.int64)
    return accuracy_interval(np.array(correct, float), zeros, zeros, np.array(owners), zeros, 2000, seeded(0))


def test_the_interval_is_over_owners_not_images() -> None:
    correct = [1, 0] * 20
    alone = interval(correct, list(range(40)))
    alike = interval(sorted(correct), [place // 4 for place in range(40)])  # ten owners of four equal answers
    assert alone is not None
    assert alike is not None
    assert alone == pytest.approx((0.35, 0.65), abs=0.03)
    assert alike[1] - alike[0] > 1.6 * (alone[1] - alone[0])


def test_where_all_is_right_the_interval_is_wilsons_over_owners() -> None:
    assert interval([1] * 20, [place // 2 for place in range(20)]) == wilson(1.0, 10)
    assert interval([1, 0, 1, 1], [0, 1, 2, 3]) is None


def test_the_calibration_error_is_the_gap_of_confidence_and_accuracy() -> None:
    logits = np.log(np.array([[0.8, 0.2]] * 10))
    assert calibration_error(logits, np.array([0] * 8 + [1] * 2)) == pytest.approx(0.0, abs=1e-9)
    assert calibration_error(logits, np.array([0] * 5 + [1] * 5)) == pytest.approx(0.3)


def test_confusion_has_what_it_is_in_rows() -> None:
    assert confusion(np.array([0, 1, 1]), np.array([0, 0, 2]), 3) == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]

"""The statistics of reader studies against closed forms, published examples, and readers that are simulated here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mrigen.errors import InputError
from mrigen.studies.reader_study.agreement import cohen_kappa, fleiss_kappa
from mrigen.studies.reader_study.detection import Detection, roc_points, shares
from mrigen.studies.reader_study.power import Readers
from mrigen.studies.reader_study.readers import ReadersMean, mean_covariance, over_readers

ONE = np.ones((1, 1))


def simulated(
    rng: np.random.Generator, num_readers: int, num_images: int, reader_sd: float, correlation: float, mean: float = 0.5
) -> Detection:
    """Simulated readers whose accuracies are spread about `mean`, and whose answers to an image are correlated: with
    that probability's root each takes the answer that all who do share, else one of his own."""
    synthetic = np.arange(num_images) % 2 == 1
    accuracy = np.clip(rng.normal(mean, reader_sd, (num_readers, 1)), 0, 1)
    own = rng.random((num_readers, num_images)) < accuracy
    common = rng.random(num_images)[None]
    shared = common < accuracy
    right = np.where(rng.random(own.shape) < np.sqrt(correlation), shared, own)
    ratings = np.where(right == synthetic, 1.0, -1.0)
    return Detection(ratings, synthetic, np.arange(num_images))


def test_the_published_example_of_obuchowski_and_rockette() -> None:
    """Van Dyke's study, first modality, as OR-DBM MRMC 2.5, MRMCaov and RJafroc print it: five readers, 114 cases."""
    areas = np.array([0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066])
    covariance = np.full((5, 5), 0.0004839618)
    np.fill_diagonal(covariance, 0.00101410)
    found = over_readers(areas, covariance)
    assert found.value == pytest.approx(0.8970370, abs=1e-7)
    assert np.var(areas, ddof=1) == pytest.approx(0.003082629, rel=1e-5)
    assert found.error == pytest.approx(0.03317360, rel=1e-5)
    assert found.freedom == pytest.approx(12.74465, rel=1e-4)
    assert found.interval() == pytest.approx((0.8252236, 0.9688505), abs=1e-6)


def test_readers_who_agree_by_chance_are_no_surer_than_their_cases_allow() -> None:
    found = over_readers(np.array([0.6, 0.6, 0.6]), np.diag([0.01] * 3))
    assert found.error == pytest.approx(0.1 / np.sqrt(3))
    assert found.freedom == np.inf
    assert over_readers(np.array([0.6]), ONE * 0.01) == ReadersMean(0.6, 0.1)


def test_an_area_has_the_variance_of_delong() -> None:
    """By hand: Hanley and McNeil's pairs, one reader; and of two answers alone it is the accuracy."""
    ratings = np.array([[1.0, 3, -2, 2, -1, -3, 1]])
    synthetic = np.array([True] * 4 + [False] * 3)
    found = Detection(ratings, synthetic, np.arange(7)).roc_area()
    # Of the synthetic (1, 3, -2, 2) the shares of real ones (-1, -3, 1) below, ties half; and the other way.
    made, real = np.array([2.5, 3, 1, 3]) / 3, np.array([3, 4, 2.5]) / 4
    assert found.values[0] == pytest.approx(made.mean())
    assert found.covariance[0, 0] == pytest.approx(made.var(ddof=1) / 4 + real.var(ddof=1) / 3)
    said = np.sign(np.random.default_rng(0).normal(0.3, 1, (3, 60)))
    answers = Detection(said, np.arange(60) % 2 == 0, np.arange(60))
    assert answers.roc_area().values == pytest.approx(answers.accuracy().values)
    assert answers.roc_area().covariance == pytest.approx(answers.accuracy().covariance)


def test_the_area_under_the_corners_is_the_area() -> None:
    rng = np.random.default_rng(1)
    synthetic = np.arange(80) % 2 == 0
    ratings = rng.choice([-5, -4, -3, -2, -1, 1, 2, 3, 4, 5], (1, 80)) + 0.0
    corners = roc_points(ratings[0], synthetic)
    assert (corners[0] == 0).all()
    assert (corners[-1] == 1).all()
    area = np.trapezoid(corners[:, 1], corners[:, 0])
    assert area == pytest.approx(Detection(ratings, synthetic, np.arange(80)).roc_area().values[0])


def test_d_prime_and_criterion_of_known_rates() -> None:
    """84.13 % of hits and 15.87 % of false alarms lie one standard deviation to either side; the variance is that of
    Gourevitch and Galanter (1967)."""
    synthetic = np.arange(20_000) < 10_000
    ratings = np.where(np.arange(20_000) % 10_000 < np.where(synthetic, 8413, 1587), 1.0, -1.0)[None]
    answers = Detection(ratings, synthetic, np.arange(20_000))
    d_prime, criterion = answers.sensitivity_index(), answers.criterion()
    assert d_prime.values[0] == pytest.approx(2.0, abs=1e-3)
    assert criterion.values[0] == pytest.approx(0.0, abs=1e-9)
    expected = 2 * 0.8413 * 0.1587 / (10_000 * stats.norm.pdf(1) ** 2)
    assert d_prime.covariance[0, 0] == pytest.approx(expected, rel=2e-3)
    assert criterion.covariance[0, 0] == pytest.approx(expected / 4, rel=2e-3)


def test_the_model_of_equal_variances_ties_d_prime_to_the_area() -> None:
    rng = np.random.default_rng(2)
    synthetic = np.arange(3000) % 2 == 0
    felt = rng.normal(np.where(synthetic, 0.5, -0.5), 1.0)
    ratings = np.clip(np.where(felt > 0, np.ceil(felt * 2), np.floor(felt * 2)), -5, 5)[None]
    answers = Detection(ratings, synthetic, np.arange(3000))
    assert answers.sensitivity_index().values[0] == pytest.approx(1.0, abs=0.1)
    assert answers.roc_area().values[0] == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.02)


def test_images_of_one_subject_count_as_one() -> None:
    rng = np.random.default_rng(3)
    few = (rng.random((2, 20)) < 0.6).astype(float)
    many = np.repeat(few, 4, axis=1)
    alike = mean_covariance(many, np.repeat(np.arange(20), 4))
    assert alike == pytest.approx(mean_covariance(few, np.arange(20)))
    assert alike == pytest.approx(np.cov(few) / 20)
    everything = shares(np.ones((1, 30)), np.arange(30))
    assert everything.values[0] == 1.0
    assert everything.covariance[0, 0] > 0


def test_the_kappas_of_published_tables() -> None:
    """Cohen's from a table of counts (20, 5, 10, 15); Fleiss' from the table of 14 raters and ten subjects."""
    first = np.array([1] * 25 + [0] * 25)
    second = np.array([1] * 20 + [0] * 5 + [1] * 10 + [0] * 15)
    assert cohen_kappa(first, second, np.ones((1, 50)))[0] == pytest.approx(0.4)
    table = """0 0 0 0 14 / 0 2 6 4 2 / 0 0 3 5 6 / 0 3 9 2 0 / 2 2 8 1 1
             / 7 7 0 0 0 / 3 2 6 3 0 / 2 5 3 2 2 / 6 5 2 1 0 / 0 2 2 3 7"""
    answers = np.array([np.repeat(np.arange(5), list(map(int, row.split()))) for row in table.split("/")]).T
    assert fleiss_kappa(answers, np.ones((1, 10)))[0] == pytest.approx(0.210, abs=5e-4)
    weights = np.random.default_rng(0).integers(0, 3, (2, 10))
    drawn = [np.repeat(answers, row, axis=1) for row in weights]  # a weight is so many copies of a case
    copies = [fleiss_kappa(some, np.ones((1, some.shape[1])))[0] for some in drawn]
    assert fleiss_kappa(answers, weights.astype(float)) == pytest.approx(copies)
    assert np.isnan(cohen_kappa(first * 0, second * 0, np.ones((1, 50)))[0])


def test_equivalence_is_shown_where_the_90_percent_interval_lies_within_the_margin() -> None:
    for value in np.linspace(0.3, 0.7, 41):
        estimate = ReadersMean(float(value), 0.03, 7.5)
        low, high = estimate.interval(0.9) or (0, 0)
        shown = (estimate.equivalence_p(0.5, 0.1) or 0) < 0.05
        assert shown == (low > 0.4 and high < 0.6)
    assert ReadersMean(0.5, 0.03).p_value(0.5) == pytest.approx(1.0)
    assert ReadersMean(0.5 + 1.959964 * 0.03, 0.03).p_value(0.5) == pytest.approx(0.05, abs=1e-6)
    assert ReadersMean(0.5, 0.0).interval() is None


@pytest.mark.parametrize(("readers", "images", "sd", "correlation"), [(3, 120, 0.05, 0.1), (6, 80, 0.0, 0.0)])
def test_simulated_studies_have_the_power_and_the_coverage_that_are_claimed(
    readers: int, images: int, sd: float, correlation: float
) -> None:
    rng, margin = np.random.default_rng(4), 0.12
    covered, shown, told = [], [], []
    for _ in range(300):
        guess = simulated(rng, readers, images, sd, correlation).accuracy()
        estimate = over_readers(guess.values, guess.covariance)
        low, high = estimate.interval() or (0, 0)
        covered.append(low <= 0.5 <= high)
        shown.append((estimate.equivalence_p(0.5, margin) or 0) < 0.05)
        able = simulated(rng, readers, images, sd, correlation, 0.5 + margin).accuracy()
        told.append((over_readers(able.values, able.covariance).p_value(0.5) or 0) < 0.05)
    planned = Readers(readers, sd, correlation)
    assert 0.93 <= np.mean(covered) <= 0.99
    assert np.mean(shown) == pytest.approx(planned.power_of_equivalence(images, margin), abs=0.1)
    assert np.mean(told) == pytest.approx(planned.power_against_chance(images, margin), abs=0.1)


def test_sample_sizes() -> None:
    """With many readers who do not differ only images count: the formulas of the normal distribution."""
    readers = Readers(200, 0.0, 0.999)
    z = stats.norm.ppf
    assert readers.images_for_equivalence(0.1, 0.8) == pytest.approx(0.25 * (z(0.95) + z(0.9)) ** 2 / 0.01, rel=0.02)
    expected = 0.6 * 0.4 * (z(0.975) + z(0.8)) ** 2 / 0.01
    assert readers.images_against_chance(0.1, 0.8) == pytest.approx(expected, rel=0.02)
    with pytest.raises(InputError, match="with no number of images: take more readers"):
        Readers(2, 0.1).images_for_equivalence(0.05, 0.8)
    with pytest.raises(InputError, match="two readers are needed at least"):
        Readers(1)

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import fisher_exact

from mrigen.audit.decision import (
    CellAudit,
    CopyLimits,
    Neighbour,
    Proportion,
    Query,
    decide,
    decide_cell,
    excess_p_value,
    holm,
)
from mrigen.audit.likeness import Alignment
from mrigen.config import AuditConfig
from mrigen.labels import Cell
from mrigen.metrics.accuracy import wilson
from mrigen.report.audit.words import warnings

CELL, OTHER = Cell.parse("Healthy:T1w"), Cell.parse("Dementia:PD")
SETTINGS = AuditConfig()


def near(similarity: float, name: str = "real") -> Neighbour:
    return Neighbour(name, 0.5, Alignment(similarity, False, (0, 0)))


def query(training: float, held_out: float, owner: str = "a", **changes: object) -> Query:
    return Query("x", owner, near(training), near(held_out), **changes)  # type: ignore[arg-type]


def people(count: int = 100, seed: int = 0) -> list[Query]:
    """Held-out images of ten people, as near to training as to each other."""
    generator = np.random.default_rng(seed)
    return [query(*generator.uniform(0.6, 0.8, 2).tolist(), owner=str(k % 10)) for k in range(count)]


def decided(samples: list[Query], held_out: list[Query] | None = None, cell: Cell = CELL) -> CellAudit:
    return decide_cell(cell, (cell,), samples, people() if held_out is None else held_out, SETTINGS)


def test_the_interval_is_wilsons() -> None:
    assert Proportion(8, 10).interval == wilson(0.8, 10)
    assert Proportion(0, 0).interval == (0.0, 1.0)


def test_one_stratum_is_fishers_exact_test() -> None:
    for a, b in ((3, 0), (5, 2), (0, 4), (12, 12)):
        truth = fisher_exact([[a, 12 - a], [b, 12 - b]], alternative="greater").pvalue
        assert excess_p_value([(Proportion(a, 12), Proportion(b, 12))]) == pytest.approx(truth)


def test_strata_are_convolved() -> None:
    strata = [(Proportion(3, 6), Proportion(1, 5)), (Proportion(2, 4), Proportion(0, 7))]

    def chances(first: Proportion, second: Proportion) -> dict[int, float]:
        total = first.count + second.count
        return {
            k: math.comb(first.n, k) * math.comb(second.n, total - k) / math.comb(first.n + second.n, total)
            for k in range(total + 1)
        }

    truth = sum(
        p * q for (k, p), (m, q) in itertools.product(*(chances(*stratum).items() for stratum in strata)) if k + m >= 5
    )
    assert excess_p_value(strata) == pytest.approx(truth)


def test_the_test_is_exact_for_an_order_statistic() -> None:
    # 3 or more of 12 samples beyond the highest of 12 held-out images: the three highest of all 24 are samples.
    assert excess_p_value([(Proportion(3, 12), Proportion(0, 12))]) == pytest.approx(12 * 11 * 10 / (24 * 23 * 22))


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_limits_are_values_that_occur() -> None:
    held_out = [query(0.5 + k / 1000, 0.5) for k in range(200)]
    limits = CopyLimits.of(held_out, 99.0)
    similarities = [0.5 + k / 1000 for k in range(200)]
    assert limits.similarity == pytest.approx(similarities[198])
    assert limits.ratio == pytest.approx((1 - similarities[198]) / 0.5)
    assert sum(map(limits.flags, held_out)) == 1
    assert CopyLimits.of(held_out[:20], 99.0).similarity == pytest.approx(similarities[19])


def test_copies_fail_and_new_people_pass() -> None:
    fresh = people(seed=1)
    passed = decide([decided(fresh)], SETTINGS)
    assert not passed.failed
    assert passed.flagged.count <= 4
    copies = decide([decided([query(0.99, 0.75)] * 20 + fresh)], SETTINGS)
    assert copies.failed
    assert copies.matches.count >= 20
    assert copies.p_value == excess_p_value([(copies.matches, copies.held_out_matches)])


def test_samples_near_to_everybody_are_flagged_but_no_copies() -> None:
    smooth = decide([decided([query(0.9, 0.9)] * 50)], SETTINGS)
    assert smooth.flagged.count == 50
    assert smooth.matches.count == 0
    assert not smooth.failed


def test_samples_unlike_everybody_pass_and_are_told() -> None:
    noise = decide([decided([query(0.1, 0.1)] * 50)], SETTINGS)
    assert not noise.failed
    assert noise.unlike.count == 50
    assert "50 of 50 samples are unlike" in warnings(noise)[0]
    assert warnings(decide([decided(people(seed=1))], SETTINGS)) == []


def test_held_out_copies_of_training_images_are_told() -> None:
    leaked = [query(0.999, 0.7, owner=str(k % 3)) for k in range(20)]
    assert "one person under two names" in warnings(decide([decided(people(), leaked)], SETTINGS))[0]


def test_the_overall_test_sees_what_no_cell_does() -> None:
    few = [query(0.99, 0.75)] * 4 + people(40, seed=3)
    cells = [decided(few, people(40, seed=k), cell) for k, cell in enumerate((CELL, OTHER))]
    audit = decide(cells, SETTINGS)
    assert audit.p_value is not None
    assert audit.p_value < min(cell.p_value or 1.0 for cell in cells)
    assert [cell.adjusted for cell in audit.cells] == holm([cell.p_value or 0.0 for cell in cells])


def test_the_smallest_number_that_fails_is_that() -> None:
    audit = decide([decided(people(seed=1))], SETTINGS)
    second = audit.held_out_matches
    assert audit.detectable is not None
    assert excess_p_value([(Proportion(audit.detectable, 100), second)]) < 0.01
    assert excess_p_value([(Proportion(audit.detectable - 1, 100), second)]) >= 0.01
    assert decide([decided([query(0.7, 0.7)], people(12))], SETTINGS).detectable is None


@pytest.mark.parametrize(
    ("samples", "held_out", "reason"),
    [
        ([Query("x", "x", fault="constant")], None, "every sample is constant or not finite"),
        ([Query("x", "x")], None, "every training image is constant or not finite"),
        ([query(0.7, 0.7)], people(4), "4 held-out images of 4 subjects: 10 of 2 are needed"),
        ([query(0.7, 0.7)], [query(0.7, 0.7)] * 20, "20 held-out images of 1 subject: 10 of 2 are needed"),
    ],
)
def test_a_cell_without_a_decision_says_why(samples: list[Query], held_out: list[Query] | None, reason: str) -> None:
    cell = decided(samples, held_out)
    assert cell.reason == reason
    assert cell.limits is None
    audit = decide([cell], SETTINGS)
    assert audit.failed
    assert audit.p_value is None
    assert audit.num_undecided == len(samples)


def test_the_ratio_stays_finite() -> None:
    assert query(1.0, 1.0).ratio == 1.0
    assert query(1.0, 0.5).ratio == pytest.approx(2e-6)
    assert Query("x", "x", near(0.5)).ratio is None

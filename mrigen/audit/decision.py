"""Does a model copy its training images? Thresholds from held-out people, counts, and the test that decides.

Every image asked about (a query) is a sample or a held-out real image; both went through the same comparison with the
same two sets, training and held-out images (a held-out query never meets its own person). So whatever the size of the
sets, or one image that many others resemble, does to a sample it does to a held-out image too.

- A sample is *flagged* when it is more like its nearest training image than the 99th percentile of held-out images is
  like theirs (as Dar et al. 2024, arXiv 2402.01054, do with the 95th).
- Smooth or typical samples are near to everybody. A *match* is flagged and also nearer to training than to held-out
  images: its ratio of distances (1 - similarity) is below the 1st percentile of the ratios of held-out images. The
  three samples of Meehan et al. 2020 (arXiv 2004.05675), and the nearest of both sets of Platzer and Reutterer 2021.
- The test asks whether matches are more frequent among samples than among held-out images: Fisher's exact test, its
  counts convolved over the cells. For a threshold that is an order statistic of the held-out images it is exact:
  k samples beyond the j-th highest of them means that of the k + j - 1 highest in all, k or more are samples.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import hypergeom

from mrigen.audit.likeness import Alignment
from mrigen.config import AuditConfig
from mrigen.labels import Cell
from mrigen.metrics.accuracy import wilson

MIN_HELD_OUT, MIN_HELD_OUT_OWNERS = 10, 2
"""Held-out images and people without which there is no decision on a cell."""
MIN_DISTANCE = 1e-6
"""Distances are not told apart below this: images are kept in half precision."""


@dataclass(frozen=True)
class Neighbour:
    """The real image nearest to a query, of the training or of the held-out ones. `cosine` is that of the features."""

    id: str
    cosine: float
    alignment: Alignment

    @property
    def similarity(self) -> float:
        """Correlation of the pixels, aligned, in the foreground."""
        return self.alignment.correlation


@dataclass(frozen=True)
class Query:
    """A sample or held-out image and its neighbours, each None where there is no image to compare with.

    `fault` says why it cannot be compared at all: it is constant or not finite.
    """

    id: str
    owner: str
    training: Neighbour | None = None
    held_out: Neighbour | None = None
    fault: str | None = None

    @property
    def ratio(self) -> float | None:
        """Distance to the nearest training image over that to the nearest held-out one; 1 is equally near."""
        if self.training is None or self.held_out is None:
            return None
        near, far = (max(1.0 - n.similarity, MIN_DISTANCE) for n in (self.training, self.held_out))
        return near / far


@dataclass(frozen=True)
class Proportion:
    """`count` of `n` with the Wilson interval (1927) at 95 %."""

    count: int
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the interval; 0 to 1 for none of none."""
        return wilson(self.count / self.n, self.n) if self.n else (0.0, 1.0)

    def __add__(self, other: Proportion) -> Proportion:
        return Proportion(self.count + other.count, self.n + other.n)


@dataclass(frozen=True)
class CopyLimits:
    """What is too near in one cell: a similarity to training above `similarity`; for a match, a ratio below `ratio`
    besides. What is unlike real images: similarities below `unlike`, to training and to held-out images."""

    similarity: float
    ratio: float
    unlike: tuple[float, float]

    @classmethod
    def of(cls, held_out: Sequence[Query], percentile: float) -> CopyLimits:
        """From held-out queries with both neighbours; each limit is a value that occurs among them."""
        training = [query.training.similarity for query in held_out if query.training]
        others = [query.held_out.similarity for query in held_out if query.held_out]
        ratios = [query.ratio for query in held_out if query.ratio is not None]

        def low(values: list[float]) -> float:
            return float(np.percentile(values, 100 - percentile, method="lower"))

        high = float(np.percentile(training, percentile, method="higher"))
        return cls(high, low(ratios), (low(training), low(others)))

    def flags(self, query: Query) -> bool:
        """Whether the query is flagged."""
        return query.training is not None and query.training.similarity > self.similarity

    def is_match(self, query: Query) -> bool:
        """Whether the query looks like a copy."""
        return self.flags(query) and query.ratio is not None and query.ratio < self.ratio

    def is_unlike(self, query: Query) -> bool:
        """Whether the query is less like any real image than held-out images are."""
        neighbours = query.training, query.held_out
        return all(
            near is not None and near.similarity < low for near, low in zip(neighbours, self.unlike, strict=True)
        )


@dataclass(frozen=True)
class CellAudit:
    """The decision on one cell; `limits` is None, and `reason` says why, where there is none."""

    cell: Cell
    references: tuple[Cell, ...]
    """The cells whose training and held-out images the samples were compared with: its own, if it was trained."""
    trained: bool
    samples: tuple[Query, ...]
    held_out: tuple[Query, ...]
    limits: CopyLimits | None = None
    reason: str | None = None
    flagged: Proportion = Proportion(0, 0)
    matches: Proportion = Proportion(0, 0)
    held_out_matches: Proportion = Proportion(0, 0)
    unlike: Proportion = Proportion(0, 0)
    p_value: float | None = None
    adjusted: float | None = None
    """The p-value after Holm (1979) over the cells."""

    def flags(self, query: Query) -> bool:
        """Whether a query of this cell is flagged; never where there is no decision."""
        return self.limits is not None and self.limits.flags(query)

    def is_match(self, query: Query) -> bool:
        """Whether a query of this cell looks like a copy; never where there is no decision."""
        return self.limits is not None and self.limits.is_match(query)

    @property
    def num_faulty(self) -> int:
        """Samples that cannot be compared."""
        return sum(query.fault is not None for query in self.samples)


@dataclass(frozen=True)
class Audit:
    """All cells, and the decision over those that allow one; `p_value` is None if none does."""

    cells: tuple[CellAudit, ...]
    flagged: Proportion
    matches: Proportion
    held_out_matches: Proportion
    unlike: Proportion
    p_value: float | None
    significance: float
    detectable: int | None
    """The smallest number of matches, spread evenly over the samples decided on, at which the audit fails."""

    @property
    def failed(self) -> bool:
        """Whether copies were detected, or there is no decision."""
        return self.p_value is None or self.p_value < self.significance

    @property
    def num_undecided(self) -> int:
        """Samples that no figure speaks of: of cells without a decision, or faulty."""
        return sum(len(cell.samples) for cell in self.cells) - self.flagged.n


def decide_cell(
    cell: Cell,
    references: tuple[Cell, ...],
    samples: Sequence[Query],
    held_out: Sequence[Query],
    settings: AuditConfig,
) -> CellAudit:
    """Decide on the samples of one cell by the held-out images of the same cell."""
    audit = CellAudit(cell, references, references == (cell,), tuple(samples), tuple(held_out))
    sound = [query for query in samples if query.fault is None]
    able = [query for query in held_out if query.fault is None]
    if not references:
        return replace(audit, reason="no training image of the same pathology or modality")
    if not sound:
        return replace(audit, reason="every sample is constant or not finite")
    if any(query.training is None for query in sound):
        return replace(audit, reason="every training image is constant or not finite")
    if reason := too_few([query.owner for query in able]):
        return replace(audit, reason=reason)
    limits = CopyLimits.of(able, settings.percentile)
    audit = replace(
        audit,
        limits=limits,
        flagged=Proportion(sum(map(limits.flags, sound)), len(sound)),
        matches=Proportion(sum(map(limits.is_match, sound)), len(sound)),
        held_out_matches=Proportion(sum(map(limits.is_match, able)), len(able)),
        unlike=Proportion(sum(map(limits.is_unlike, sound)), len(sound)),
    )
    return replace(audit, p_value=excess_p_value([(audit.matches, audit.held_out_matches)]))


def too_few(owners: Sequence[str]) -> str | None:
    """Why no limit can be had from held-out images of these owners, or None."""
    subjects = len(set(owners))
    if len(owners) >= MIN_HELD_OUT and subjects >= MIN_HELD_OUT_OWNERS:
        return None
    found = f"{_counted(len(owners), 'held-out image')} of {_counted(subjects, 'subject')}"
    return f"{found}: {MIN_HELD_OUT} of {MIN_HELD_OUT_OWNERS} are needed"


def decide(cells: Iterable[CellAudit], settings: AuditConfig) -> Audit:
    """The decision over all cells together; cells are told with p-values after Holm."""
    cells = tuple(cells)
    decided = [cell for cell in cells if cell.p_value is not None]
    adjusted = dict(zip((cell.cell for cell in decided), holm([cell.p_value or 0.0 for cell in decided]), strict=True))
    cells = tuple(replace(cell, adjusted=adjusted.get(cell.cell)) for cell in cells)
    strata = [(cell.matches, cell.held_out_matches) for cell in decided]
    shares = ("flagged", "matches", "held_out_matches", "unlike")
    return Audit(
        cells,
        **{name: sum((getattr(cell, name) for cell in decided), Proportion(0, 0)) for name in shares},
        p_value=excess_p_value(strata) if strata else None,
        significance=settings.significance,
        detectable=_detectable(strata, settings.significance),
    )


def excess_p_value(strata: Sequence[tuple[Proportion, Proportion]]) -> float:
    """One-sided exact p-value that the first share of each pair is no larger than the second, over all strata.

    In each stratum the total of both counts is held fixed, which makes the first hypergeometric; the sum over the
    strata is compared with its distribution, their convolution (Fisher 1935; the exact form of Mantel and Haenszel).
    """
    distribution = np.ones(1)
    for first, second in strata:
        total, count = first.n + second.n, first.count + second.count
        distribution = np.convolve(distribution, hypergeom(total, first.n, count).pmf(np.arange(count + 1)))
    observed = sum(first.count for first, _ in strata)
    return float(min(1.0, math.fsum(distribution[observed:])))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979), in the order given."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def _detectable(strata: Sequence[tuple[Proportion, Proportion]], significance: float) -> int | None:
    """See `Audit.detectable`; found by bisection."""
    most = sum(first.n for first, _ in strata)
    counts = range(1, most + 1)
    found = bisect.bisect_left(counts, True, key=lambda n: excess_p_value(_spread(strata, n)) < significance)
    return counts[found] if found < most else None


def _spread(strata: Sequence[tuple[Proportion, Proportion]], count: int) -> list[tuple[Proportion, Proportion]]:
    """The strata with `count` matches in the place of those of the samples, in proportion to how many there are."""
    total, before, spread = sum(first.n for first, _ in strata), 0, []
    for first, second in strata:
        after = before + first.n
        spread.append((Proportion(count * after // total - count * before // total, first.n), second))
        before = after
    return spread


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

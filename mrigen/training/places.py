"""Which rows a batch holds, and the random numbers of each.

No number of workers and no restart changes any of it: all is a function of the seed, the step and a row's place in the
global batch, so that a worker reads and draws its own share only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, Any]


class RowOrder:
    """The endless order of training rows: in each epoch as many rows as there are, anew permuted by seed and epoch."""

    def __init__(self, num_rows: int, weights: Array | None = None) -> None:
        """Each row comes once an epoch, or by `weights` (num_rows,) as often as its share tells, rounded up or down."""
        self._num_rows, self._weights = num_rows, weights
        self._epoch = functools.lru_cache(maxsize=2)(self._drawn)

    def batch(self, batch_size: int, seed: int, step: int) -> Array:
        """Rows of the global batch of `step`: a window of the order."""
        epochs, places = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), self._num_rows)
        return np.concatenate([self._epoch(seed, int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)])

    def _drawn(self, seed: int, epoch: int) -> Array:
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(np.arange(self._num_rows, dtype=np.uint32))
        if self._weights is None:
            return order
        # Systematic sampling: equal steps through the cumulated shares, from a random start.
        edges = np.cumsum(self._weights) / np.sum(self._weights) * self._num_rows
        marks = np.arange(self._num_rows) + generator.random()
        drawn = np.minimum(np.searchsorted(edges, marks, side="right"), self._num_rows - 1)
        return np.asarray(drawn.astype(order.dtype)[order])


def evenly_spaced(num_rows: int, most: int) -> Array:
    """At most `most` of the rows, every k-th."""
    return np.arange(0, num_rows, max(1, -(-num_rows // most)))


@dataclass(frozen=True)
class Places:
    """Places in the global batch of one step, and the random numbers that belong to each."""

    seed: int
    step: int
    batch_size: int
    taken: range

    @classmethod
    def of_rank(cls, rank: int, world: int, batch_size: int, seed: int, step: int) -> Places:
        """What worker `rank` of `world` computes: every `world`-th place."""
        return cls(seed, step, batch_size, range(rank, batch_size, world))

    def rows(self, order: RowOrder) -> Array:
        """The training rows at these places."""
        return order.batch(self.batch_size, self.seed, self.step)[self.taken]

    def parts(self, size: int | None) -> list[Places]:
        """The same places, at most `size` together."""
        size = size or len(self.taken)
        return [replace(self, taken=self.taken[first : first + size]) for first in range(0, len(self.taken), size)]

    def strata(self) -> Array:
        """For each place another of `batch_size` strata, by a permutation of the step that all workers share."""
        philox, at_place = _philox(self.seed, self.step)
        philox.state = at_place(self.batch_size)  # the first that is no row's
        return np.random.Generator(philox).permutation(self.batch_size)[self.taken]

    def draw(self, num_uniforms: int, shape: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """For each place uniform numbers in [0, 1), float64 (B, num_uniforms), and standard normal ones (B, *shape)."""
        uniform = np.empty((len(self.taken), num_uniforms))
        normal = np.empty((len(self.taken), *shape), np.float32)
        philox, at_place = _philox(self.seed, self.step)
        generator = np.random.Generator(philox)
        for i, place in enumerate(self.taken):
            philox.state = at_place(place)
            generator.random(out=uniform[i])
            generator.standard_normal(dtype=np.float32, out=normal[i])
        return torch.from_numpy(uniform), torch.from_numpy(normal)


def _philox(seed: int, step: int) -> tuple[np.random.Philox, Callable[[int], Any]]:
    """The counter-based generator (Salmon et al. 2011) of one step, and its state at the start of a place.

    A place is the highest word of the counter, so that each has 2^192 blocks of its own. Setting the state is a quarter
    of the cost of a new generator.
    """
    philox = np.random.Philox(key=np.array([seed, step], np.uint64))
    start = philox.state

    def at_place(place: int) -> Any:
        start["state"]["counter"] = np.array([0, 0, 0, place], np.uint64)
        return start

    return philox, at_place

"""How long what waits will take, by what the last batches took."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict, deque
from collections.abc import Iterator

from jobs.serve.api import Order
from jobs.serve.files import Made
from jobs.serve.refusals import RETRY_S, Refused
from mrigen.config import SamplerConfig

MAX_RETRY_S = 60
_NUM_ORDERS = 32


def evaluations(sampler: SamplerConfig) -> int:
    """Times that the denoiser looks at a batch, guidance at every step taken."""
    return sampler.num_steps * (1 + len(sampler.guidance_terms))


class Pace:
    """What is ongoing, and how fast it is made."""

    def __init__(self, num_workers: int = 1) -> None:
        self._num_workers = num_workers
        self._ongoing: list[Order] = []
        self._made: defaultdict[str, deque[tuple[float, int]]] = defaultdict(lambda: deque(maxlen=_NUM_ORDERS))
        """Of each model's last orders the seconds, and the evaluations."""

    @contextlib.contextmanager
    def admitted(self, order: Order, within_s: float) -> Iterator[None]:
        """The order is ongoing within; a refusal for too much that waits tells how long it will take.

        Raises Refused(429) if others are, and even full batches would not have made it in `within_s` seconds. Callers
        take turns, so of an order that asks for more as much comes before it as it asks for itself, or one batch.
        """
        own = self._seconds(order)
        turn = max(own, own * order.sampler.compute_batch / order.count)
        before = sum(min(self._seconds(other), turn) for other in self._ongoing)
        if before and before + own > within_s:
            detail = f"with what waits it takes about {before + own:.0f} s, and {within_s:g} s is the limit"
            raise Refused(429, detail, retry_after_s=self.retry_s())
        self._ongoing.append(order)
        try:
            yield
        except Refused as error:
            if error.status == 429:
                error.retry_after_s = self.retry_s()
            raise
        finally:
            self._ongoing.remove(order)

    def note(self, order: Order, made: Made) -> None:
        """An order was made."""
        self._made[order.model_sha256].append((made.compute_s, made.num_batches * evaluations(order.sampler)))

    def retry_s(self) -> int:
        """Seconds to wait before asking again: those that all that is ongoing takes, if that is known."""
        return min(max(math.ceil(sum(map(self._seconds, self._ongoing))), 1), MAX_RETRY_S) if self._made else RETRY_S

    def _seconds(self, order: Order) -> float:
        """What an order takes of the time of all workers, in full batches; 0 while its model has made none."""
        made = self._made.get(order.model_sha256, deque([(0.0, 1)]))
        seconds, evaluated = sum(taken for taken, _ in made), sum(number for _, number in made)
        work = evaluations(order.sampler) * order.count / order.sampler.compute_batch
        return work * seconds / evaluated / self._num_workers

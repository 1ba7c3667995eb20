"""The seam to whoever does the work: a stage says what is done with every item, an `Each` where.

`one_by_one` does it in this process, `OnAllCores` in one for each core; `jobs.each_on_ray` has the one that does it on
Ray Data.
"""

from __future__ import annotations

import functools
import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol, Self

from mrigen.errors import InputError
from mrigen.process.cores import usable_cpus
from mrigen.process.threads import one_thread


@dataclass(frozen=True)
class Tally:
    """What a progress bar counts, where it is not items: so many in all; of each result how many, and other numbers by
    their names."""

    total: int
    of: Callable[[Any], tuple[int, Mapping[str, int]]]


class Each(Protocol):
    """Does the same work on every item, in this process or in many."""

    @property
    def device(self) -> str:
        """The torch device of its workers, `cpu` or `cuda`."""
        ...

    def on_cpu(self) -> Each:
        """The same for work that has no use for a GPU."""
        ...

    def __call__(
        self,
        work: Callable[..., Any],
        items: Sequence[Any],
        title: str,
        load: Callable[[], Any] | None = None,
        tally: Tally | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (place of the item, result) of every item, in any order; `title` and `tally` are for a progress bar.

        The result is `work(item)`; with `load`, which makes what the work on many items shares, such as a network, once
        in each worker, it is `work(shared, item)`. Torch computes on one thread, so that a result does not depend on
        the number of workers. Work may be done twice, so it must be idempotent. The first InputError or OSError that it
        raises is raised here; Stopped where the user asks for it, once what is in hand is done.
        """
        ...


@dataclass(frozen=True)
class OneByOne:
    """An `Each` that does the work in this process, without a progress bar."""

    device: str = "cpu"

    def on_cpu(self) -> Self:
        """The same on the CPU."""
        return type(self)()

    def __call__(
        self,
        work: Callable[..., Any],
        items: Sequence[Any],
        title: str,
        load: Callable[[], Any] | None = None,
        tally: Tally | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """As `Each` has it; in the order of the items."""
        shared: tuple[Any, ...] = ()
        for place, item in enumerate(items):
            with one_thread():
                if load is not None and not shared:
                    shared = (load(),)
                result = work(*shared, item)
            yield place, result


one_by_one = OneByOne()


class OnAllCores(OneByOne):
    """An `Each` that does work in a process for each core, without a progress bar; it must be fit to be pickled."""

    def __call__(
        self,
        work: Callable[..., Any],
        items: Sequence[Any],
        title: str,
        load: Callable[[], Any] | None = None,
        tally: Tally | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """As `Each` has it, in the order in which items are done. Raises InputError where a process was killed."""
        processes = multiprocessing.get_context("spawn")  # a fork would share the locks of torch's threads
        loading = pickle.dumps(load)
        with ProcessPoolExecutor(usable_cpus(), processes) as pool:
            places = {pool.submit(_work_with, loading, work, item): place for place, item in enumerate(items)}
            try:
                for done in as_completed(places):
                    yield places[done], done.result()
            except BrokenProcessPool:
                raise InputError(f"{title}: a process was killed, as where memory is short: call it again") from None
            finally:
                pool.shutdown(cancel_futures=True)


def _work_with(loading: bytes, work: Callable[..., Any], item: Any) -> Any:
    with one_thread():
        return work(*_loaded(loading), item)


@functools.lru_cache(maxsize=1)
def _loaded(loading: bytes) -> tuple[Any, ...]:
    """What the work on many items shares, loaded once in each process."""
    load = pickle.loads(loading)  # noqa: S301 (the caller's own)
    return (load(),) if load else ()

"""`one_by_one`: what every stage may rely on, whoever does the work."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from mrigen.each import OnAllCores, one_by_one
from mrigen.errors import InputError


def test_every_item_is_done_once_with_what_was_loaded_once() -> None:
    loads: list[int] = []

    def load() -> int:
        loads.append(1)
        return 10

    results = dict(one_by_one(lambda shared, item: shared * item, [3, 1, 2], "test", load))
    assert results == {0: 30, 1: 10, 2: 20}
    assert len(loads) == 1


def test_nothing_is_loaded_for_no_items() -> None:
    assert not list(one_by_one(lambda shared, item: item, [], "test", lambda: pytest.fail("loaded")))


def test_work_has_one_thread_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _, inside in one_by_one(lambda item: torch.get_num_threads(), [0, 1], "test"):
            assert (inside, torch.get_num_threads()) == (1, 2)
    finally:
        torch.set_num_threads(before)


def test_a_fault_of_the_user_comes_out_as_it_is() -> None:
    def work(item: int) -> int:
        raise InputError(f"item {item} is bad")

    with pytest.raises(InputError, match="item 7 is bad"):
        list(one_by_one(work, [7], "test"))


_LOADS: list[int] = []


def _load() -> int:
    _LOADS.append(1)
    return 10


def _product(shared: int, item: int) -> tuple[int, int, int, int]:
    return shared * item, len(_LOADS), torch.get_num_threads(), os.getpid()


def test_on_all_cores_each_process_loads_once_and_computes_on_one_thread() -> None:
    results = dict(OnAllCores()(_product, range(1, 5), "test", _load))
    assert {place: product for place, (product, *_) in results.items()} == {0: 10, 1: 20, 2: 30, 3: 40}
    assert {(loads, threads) for _, loads, threads, _ in results.values()} == {(1, 1)}
    assert os.getpid() not in {process for *_, process in results.values()}


def _fails(item: int) -> int:
    raise InputError(f"item {item} is bad")


def test_a_fault_of_the_user_comes_out_of_all_cores_as_it_is() -> None:
    with pytest.raises(InputError, match=r"^item 7 is bad$"):
        list(OnAllCores()(_fails, [7], "test"))


def _killed(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_told() -> None:
    with pytest.raises(InputError, match=r"^test: a process was killed, as where memory is short: call it again$"):
        list(OnAllCores()(_killed, [7], "test"))

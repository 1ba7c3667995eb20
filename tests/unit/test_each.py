"""`one_by_one`: what every stage may rely on, whoever does the work."""

from __future__ import annotations

import pytest
import torch

from mrigen.each import one_by_one
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

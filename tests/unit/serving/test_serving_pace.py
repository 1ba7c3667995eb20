from __future__ import annotations

import contextlib
from typing import Any

import pytest
from serving_fakes import order_of

from jobs.serve.api import ModelInfo
from jobs.serve.files import Made
from jobs.serve.pace import Pace, evaluations
from jobs.serve.refusals import Refused


def made(seconds: float, num_batches: int) -> Made:
    return Made([], compute_s=seconds, num_batches=num_batches, encode_s=0.0, num_places=8.0 * num_batches)


def test_orders_are_admitted_as_long_as_full_batches_can_make_them_in_time(model: ModelInfo) -> None:
    pace, order = Pace(num_workers=2), order_of(model, count=model.defaults.compute_batch)
    with contextlib.ExitStack() as ongoing:
        for _ in range(50):  # nothing is known yet
            ongoing.enter_context(pace.admitted(order, 3.0))
    pace.note(order, made(2.0, 2))  # a second a batch
    with contextlib.ExitStack() as ongoing:
        for _ in range(6):  # two workers make six batches in three seconds
            ongoing.enter_context(pace.admitted(order, 3.0))
        with pytest.raises(Refused) as refused, pace.admitted(order, 3.0):
            pass
    assert refused.value.detail == "with what waits it takes about 4 s, and 3 s is the limit"
    assert (refused.value.status, refused.value.retry_after_s) == (429, 3)
    with pace.admitted(order, 3.0):  # they have been made
        pass


def test_an_order_waits_for_its_turns_not_for_the_whole_of_larger_ones(model: ModelInfo) -> None:
    pace, batch = Pace(), model.defaults.compute_batch
    small, large = order_of(model, count=batch), order_of(model, count=8 * batch)
    pace.note(small, made(1.0, 1))
    with pace.admitted(large, 3.0), pace.admitted(small, 3.0), pace.admitted(small, 3.0):  # alone, none is refused
        with pytest.raises(Refused), pace.admitted(small, 3.0):
            pass
        assert pace.retry_s() == 10


def test_steps_and_guidance_are_what_an_order_costs(model: ModelInfo) -> None:
    plain = model.defaults.model_copy(update={"num_steps": 2, "guidance_scale": 1.0})
    guided = model.defaults.model_copy(update={"num_steps": 10, "guidance_scale": 2.0})
    assert (evaluations(plain), evaluations(guided)) == (2, 20)
    pace = Pace()
    pace.note(order_of(model, sampler=plain), made(1.0, 1))
    with pace.admitted(order_of(model, sampler=guided, count=2 * guided.compute_batch), 1.0):
        assert pace.retry_s() == 20


@pytest.mark.parametrize(("status", "told"), [(429, 60), (503, 2)])
def test_a_full_queue_tells_how_long_it_takes_at_most_a_minute(model: ModelInfo, status: int, told: int) -> None:
    pace, order = Pace(), order_of(model, count=64)
    pace.note(order, made(1000.0, 1))
    error: Any
    with pytest.raises(Refused) as error, pace.admitted(order, 300.0):
        raise Refused(status, "too many requests wait already", retry_after_s=2)
    assert error.value.retry_after_s == told


def test_a_slow_model_makes_orders_of_another_wait_for_what_it_takes_itself(model: ModelInfo) -> None:
    pace, batch = Pace(), model.defaults.compute_batch
    quick, slow = order_of(model, count=batch), order_of(model, count=batch, model_sha256="slow")
    pace.note(quick, made(1.0, 1))
    pace.note(slow, made(10.0, 1))
    with pace.admitted(slow, 3.0), pace.admitted(quick, 3.0):
        assert pace.retry_s() == 11
        with pytest.raises(Refused, match="it takes about 21 s"), pace.admitted(slow, 20.0):
            pass

"""Counted arithmetic against closed forms."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, scaled_dot_product_attention

from mrigen.training.arithmetic import flop_counted, measured_peak


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_convolutions_and_attention_are_counted_there_and_back(dtype):
    left, right = torch.randn(3, 5, dtype=dtype, requires_grad=True), torch.randn(5, 7, dtype=dtype, requires_grad=True)
    with flop_counted() as product:
        (left @ right).sum().backward()
    assert product.get_total_flops() == 3 * (2 * 3 * 5 * 7)

    images, kernel = torch.randn(2, 4, 6, 6, dtype=dtype), torch.randn(8, 4, 3, 3, dtype=dtype, requires_grad=True)
    with flop_counted() as convolution:
        conv2d(images, kernel, padding=1).sum().backward()
    assert convolution.get_total_flops() == 2 * (2 * 2 * 36 * 4 * 8 * 9)

    query, key, value = torch.randn(3, 2, 4, 6, 8, dtype=dtype).requires_grad_().unbind()  # of 6 tokens, 4 heads of 8
    with flop_counted() as attention:
        attended = scaled_dot_product_attention(query, key, value)
    assert attention.get_total_flops() == 2 * (2 * 2 * 4 * 6 * 6 * 8)
    with flop_counted() as back:
        attended.sum().backward()
    assert back.get_total_flops() == 5 * (2 * 2 * 4 * 6 * 6 * 8)  # one of them is computed anew


def test_the_peak_is_what_the_faster_kind_did_in_its_time_on_each_thread(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))  # a second from one look to the next
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    product, convolution = 2 * 1024**3, 2 * 8 * 32**2 * 128**2 * 9
    assert measured_peak(torch.device("cpu"), torch.float32) == 3 * max(product, convolution)


def test_the_peak_is_seen_between_the_turns_of_others(monkeypatch):
    def rate(call: Callable[[], Tensor]) -> float:  # of a core of 100 GFLOP/s that is taken away after 3 ms, for 10
        with flop_counted() as counter:
            call()
        alone = counter.get_total_flops() / 1e11
        return counter.get_total_flops() / (alone + 0.01 * (alone // 0.003))

    monkeypatch.setattr("mrigen.training.arithmetic._rate", rate)
    peak = measured_peak(torch.device("cpu"), torch.float32)
    assert peak == pytest.approx(1e11 * torch.get_num_threads())

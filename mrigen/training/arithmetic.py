"""The arithmetic that a step takes, and the most of it that a device does in a second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop, sdpa_flop

from mrigen.process.threads import one_thread

MEASURED_S = 0.05
"""Seconds that products, and then convolutions, of each size are timed for; one of each is done in any case."""
CHANNELS = 128
SIDES = {"cpu": (256, 1024), "cuda": (8192,)}
"""Of matrices. Small ones are done before a busy machine takes the core away, large ones best fill a quiet one."""


def flop_counted() -> FlopCounterMode:
    """Counts the floating-point operations of products, convolutions and attention within, there and back: those of
    meta tensors as what they stand for, and what is computed anew on the way back once more."""
    counter, aten = FlopCounterMode(display=False), torch.ops.aten
    # Of attention torch's own list has the kernels of GPUs alone.
    counter.flop_registry[aten._scaled_dot_product_flash_attention_for_cpu] = sdpa_flop
    counter.flop_registry[aten._scaled_dot_product_flash_attention_for_cpu_backward] = sdpa_backward_flop
    return counter


@torch.no_grad()
def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of `device`, in products or 3 x 3 convolutions, whichever does more: by the
    fastest of some, so that other work on the machine counts as little as can be.

    Of a CPU it is what one thread does, times the threads: several on a busy machine wait for each other.
    """
    with one_thread():
        peak = max(_rate(call) for side in SIDES[device.type] for call in _calls(side, device, dtype))
    return peak if device.type == "cuda" else peak * torch.get_num_threads()


def _calls(side: int, device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """A product of two matrices, and a convolution of images that have as many pixels."""
    matrix = torch.linspace(-1, 1, side**2, device=device).to(dtype).view(side, side)
    images = matrix.view(-1, CHANNELS, 16, 16).contiguous(memory_format=torch.channels_last)
    kernel = torch.linspace(-1, 1, 9 * CHANNELS**2, device=device).to(dtype).view(CHANNELS, CHANNELS, 3, 3)
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    return lambda: matrix @ matrix, lambda: conv2d(images, kernel, padding=1)


def _rate(call: Callable[[], Tensor]) -> float:
    with flop_counted() as counter:
        device = call().device
    fastest, end = math.inf, time.perf_counter() + MEASURED_S
    while fastest == math.inf or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        fastest = min(fastest, time.perf_counter() - began)
    return float(counter.get_total_flops() / fastest)

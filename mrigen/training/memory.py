"""Memory that a step takes and that is free."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class ActivationsTooLarge(Exception):
    """A forward pass keeps more than there is room for."""


@contextlib.contextmanager
def activations_counted(module: nn.Module, room: float = math.inf) -> Iterator[list[int]]:
    """Collects the sizes in bytes of all that forward passes within keep for the way back, weights left out.

    Meta tensors count as what they stand for. What is computed anew on the way back is not seen. Raises
    ActivationsTooLarge amid the pass, once it is more than `room`.
    """
    sizes: list[int] = []
    seen = set[int]()

    def see_weights(
        called: nn.Module, *_: object
    ) -> None:  # in time: those that are spread are put together for a call
        seen.update(parameter.untyped_storage()._cdata for parameter in called.parameters(recurse=False))

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            sizes.append(storage.nbytes())
            if sum(sizes) > room:
                raise ActivationsTooLarge
        return tensor

    hooks = [one.register_forward_pre_hook(see_weights) for one in module.modules()]
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield sizes
    finally:
        for hook in hooks:
            hook.remove()


class PeakCounted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts within what tensors of this thread take that live at the same time: `peak` in bytes, on any device.

    Storages count from when an operation first gives them. Scratch memory within an operation is not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak, self._sizes, self._now = 0, dict[int, int](), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (key := (storage := tensor.untyped_storage())._cdata) not in self._sizes:
                self._sizes[key] = storage.nbytes()
                self._now += storage.nbytes()
                self.peak = max(self.peak, self._now)
                weakref.finalize(storage, self._freed, key)
        return result

    def _freed(self, key: int) -> None:
        self._now -= self._sizes.pop(key)


def free_memory(device: torch.device) -> float:
    """Bytes that this process can still take: of the GPU, else of the machine or of its container's limit."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        limit = float(Path("/sys/fs/cgroup/memory.max").read_text()) - float(psutil.Process().memory_info().rss)
    except (OSError, ValueError):  # no limit, or `max`
        limit = math.inf
    return min(limit, float(psutil.virtual_memory().available))


def bytes_text(size: float) -> str:
    """So many bytes, in MiB or GiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"

"""The one-thread rule: on a CPU the number of threads decides the last bits of a sum, so networks whose results are
kept compute on one thread, and speed comes from more workers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread."""
    import torch  # with the work: who only hands it out waits for no torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""The accelerator of a training worker."""

from __future__ import annotations

from typing import Literal

from accelerate import Accelerator

from mrigen.config import Config


def make_accelerator(config: Config, device: Literal["cpu", "cuda"] = "cpu") -> Accelerator:
    """The accelerator of a training worker; it adopts the process group that Ray Train has made, if any."""
    return Accelerator(cpu=device == "cpu", mixed_precision="no" if config.precision == "fp32" else config.precision)

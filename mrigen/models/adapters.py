"""Low-rank adapters (Hu et al. 2022, LoRA) by peft: of a weight W is learned what is added, B A, of few numbers."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from mrigen.errors import InputError

Network = TypeVar("Network", bound=nn.Module)


def add_adapters(network: nn.Module, rank: int) -> None:
    """Give every linear and convolution layer of `network` an adapter of that rank, in place, and freeze all else.

    Of a layer of `in` inputs, `out` outputs and k x k positions A has rank * in * k * k numbers and B out * rank; B
    begins at 0. Raises InputError without peft.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise InputError("peft is not installed: pip install 'mrigen[adapters]'") from None
    layers = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=layers), network)


def merged(network: Network) -> Network:
    """A copy of a network that `add_adapters` changed, as it was before, with W + B A for every weight W."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    ordinary = copy.deepcopy(network)
    for name, layer in list(ordinary.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            ordinary.set_submodule(name, layer.get_base_layer())
    return ordinary

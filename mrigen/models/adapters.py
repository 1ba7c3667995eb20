"""Low-rank adapters (Hu et al. 2022, LoRA): of a weight W is learned what is added, B A, of few numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """W + B A, of a weight W of `out` rows, however these are laid out; B begins at 0, and so nothing is changed."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        out, width = weight.flatten(1).shape
        self.a = nn.Parameter(torch.randn(rank, width) / width**0.5)
        self.b = nn.Parameter(torch.zeros(out, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with what was learned, of its shape."""
        return weight + (self.b @ self.a).view(weight.shape)


def add_adapters(network: nn.Module, rank: int) -> None:
    """Give every linear and convolution layer of `network` an adapter of that rank, in place, and freeze all else.

    Of a layer of `in` inputs, `out` outputs and k x k positions A has rank * in * k * k numbers and B out * rank.
    """
    network.requires_grad_(False)
    for layer in [one for one in network.modules() if isinstance(one, nn.Linear | nn.Conv2d)]:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))


@torch.no_grad()
def merged_state(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network that `add_adapters` changed, for one without adapters: W + B A for every weight W."""
    state = {}
    for name, value in network.state_dict().items():
        layer, _, part = name.partition(".parametrizations.weight.")
        if not part:
            state[name] = value
        elif part == "original":
            state[f"{layer}.weight"] = network.get_submodule(layer).weight
    return state

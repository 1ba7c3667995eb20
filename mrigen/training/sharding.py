"""Weights that are spread over the workers, each of which holds a part (FSDP2), and whole ones made of them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from mrigen.models.denoiser import Denoiser


def shard(model: Denoiser, num_workers: int) -> None:
    """Spread the weights of a model, the same in all workers; a worker has those of one block whole while it computes.

    To be called by all workers of the process group, as is whatever computes with the model or looks at its weights.
    """
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (num_workers,))
    unet = model.unet.to(memory_format=torch.contiguous_format)  # others cannot be spread
    mid = unet.mid_block if isinstance(unet.mid_block, nn.ModuleList) else [unet.mid_block]
    for block in (*unet.down_blocks, *mid, *unet.up_blocks):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` spread its weights."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all its parts, for which every worker must ask; one that is not spread is itself."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def parts_like(tree: Any, like: Any) -> Any:
    """Nested dictionaries and lists of whole tensors, spread as those at the same places of `like` are."""
    if isinstance(like, DTensor):
        return distribute_tensor(tree, like.device_mesh, like.placements, src_data_rank=None)
    if isinstance(like, Mapping):
        return {key: parts_like(value, like.get(key)) for key, value in tree.items()}
    return [parts_like(*both) for both in zip(tree, like, strict=True)] if isinstance(like, list) else tree

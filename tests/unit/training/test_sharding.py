"""Weights that are spread over workers: here over one, in a process group of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.distributed.tensor import DTensor

from mrigen.errors import InputError
from mrigen.labels import all_cells
from mrigen.models.conditioning import Conditions
from mrigen.models.denoiser import Denoiser
from mrigen.training.memory import activations_counted
from mrigen.training.sharding import is_sharded, parts_like, shard, whole
from tests.fake_run import tiny_config

CONFIG = tiny_config()


@pytest.fixture
def group() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("network", ["unet", "conv"])
def test_a_spread_denoiser_predicts_and_keeps_what_the_whole_one_does(group, network):
    torch.manual_seed(0)
    model, latents = Denoiser.build(tiny_config(f"denoiser.network={network}")), torch.randn(2, *CONFIG.latent_shape)
    model.unet.to(memory_format=torch.contiguous_format)  # as spread weights are
    conditions = Conditions.of(all_cells()[:2], [0.0] * 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = {}
    for spread in (False, True):
        if spread:
            shard(model, 1)
        with activations_counted(model) as kept:
            predicted = model(latents, torch.tensor([10, 500]), conditions)
        found[spread] = predicted.detach(), sum(kept)
        predicted.sum().backward()  # which parts the weights again
    assert is_sharded(model)
    torch.testing.assert_close(found[True][0], found[False][0], atol=1e-5, rtol=1e-5)
    assert found[True][1] == found[False][1]
    state = model.state_dict()
    assert all(isinstance(tensor, DTensor) for tensor in state.values())
    assert all(torch.equal(whole(tensor), before[name]) for name, tensor in state.items())


def test_whole_tensors_are_spread_as_others_are_wherever_they_stand(group):
    model = Denoiser.build(CONFIG)
    shard(model, 1)
    like = next(model.parameters())
    tree = {"state": {0: {"exp_avg": torch.ones(like.shape), "step": torch.tensor(3.0)}}, "rate": 0.1}
    parts = parts_like([tree], [{"state": {0: {"exp_avg": like}}}])[0]
    assert parts["state"][0]["exp_avg"].placements == like.placements
    assert torch.equal(whole(parts["state"][0]["exp_avg"]), torch.ones(like.shape))
    assert parts["state"][0]["step"] == 3.0
    assert parts["rate"] == 0.1


def test_adapters_are_not_spread():
    told = "shard_weights and adapter_rank do not go together: adapters take little memory as they are"
    with pytest.raises(InputError, match=told):
        tiny_config("denoiser.shard_weights=true", "denoiser.adapter_rank=2")

"""Nets have the papers' numbers of parameters, and compute what plain torch computes."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import DefinitionError

# Numbers of the papers where these give them to the digit, else of their own tables of layers.
# CIFAR, 10 classes: the paper's table 6 says 0.27, 0.46, 0.66 and 0.85 million.
SMALL = {"resnet20": 269_722, "resnet32": 464_154, "resnet44": 658_586, "resnet56": 853_018}
# ImageNet, 1000 classes.
LARGE = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "alexnet": 60_965_224,
    "vgg16": 138_357_544,
}
SIDES = {"alexnet": 227, "vgg16": 224}


def net_of(name: str) -> Any:
    return importlib.import_module(f"dovetail.nets.{name}").net


def counted(store: nn.Module) -> int:
    return sum(parameter.numel() for parameter in store.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_nets_for_small_images_have_the_paper_s_number_of_parameters(name: str):
    with layers.scope() as store:
        logits, predictions = net_of(name)(torch.zeros(2, 32, 32, 3), 10, True)
    assert counted(store) == SMALL[name]
    assert logits.shape == predictions["probabilities"].shape == (2, 10)
    assert predictions["classes"].shape == (2,)
    assert predictions["probabilities"].sum(-1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("name", LARGE)
def test_nets_for_large_images_have_the_paper_s_number_of_parameters(name: str):
    side = SIDES.get(name, 64)
    with torch.device("meta"), layers.scope() as store:
        logits, _ = net_of(name)(torch.zeros(2, side, side, 3), 1000, True)
    assert counted(store) == LARGE[name]
    assert logits.shape == (2, 1000)


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "convnet", "alexnet"])
def test_channels_first_gives_what_channels_last_does(name: str):
    x = torch.randn(2, 68, 68, 3, generator=torch.Generator().manual_seed(0))
    with layers.scope() as store:
        last, _ = net_of(name)(x, 5, False)
    with layers.scope(store):
        first, _ = net_of(name)(x.movedim(-1, 1), 5, False, "channels_first")
    assert torch.equal(last, first)


def test_an_unknown_data_format_is_refused():
    with layers.scope(), pytest.raises(DefinitionError, match="data_format='NHWC'"):
        net_of("resnet20")(torch.zeros(2, 32, 32, 3), 10, True, "NHWC")


def test_resnet20_computes_what_a_plain_torch_network_does():
    x = torch.randn(4, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    with layers.scope() as store:
        logits, _ = net_of("resnet20")(x, 10, True)
    state = dict(store.named_parameters())

    def conv(x: torch.Tensor, name: str, number: str, stride: int = 1) -> torch.Tensor:
        # TensorFlow's SAME: of one odd pixel of padding, the end gets it.
        pads = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
        y = functional.conv2d(
            functional.pad(x, pads), state[f"{name}conv2d{number}.weight"], None, stride
        )
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), correction=0, keepdim=True)
        y = (y - mean) / torch.sqrt(var + 1e-5)
        weight = state[f"{name}batch_norm{number}.weight"].reshape(1, -1, 1, 1)
        return y * weight + state[f"{name}batch_norm{number}.bias"].reshape(1, -1, 1, 1)

    y = torch.relu(conv(x.permute(0, 3, 1, 2), "", ""))
    for stage in (1, 2, 3):
        for unit in (1, 2, 3):
            stride = 2 if stage > 1 and unit == 1 else 1
            name = f"stage{stage}_unit{unit}."
            z = conv(torch.relu(conv(y, name, "", stride)), name, "_1")
            short = y[:, :, ::stride, ::stride]
            zeros = torch.zeros(4, z.shape[1] - short.shape[1], *short.shape[2:])
            y = torch.relu(z + torch.cat([short, zeros], 1))
    expected = y.mean((2, 3)) @ state["logits.weight"].T + state["logits.bias"]
    assert torch.allclose(logits, expected, atol=1e-4, rtol=1e-4)


def test_a_bottleneck_and_a_projection_are_those_of_the_paper():
    with torch.device("meta"), layers.scope() as store:
        net_of("resnet50")(torch.zeros(2, 64, 64, 3), 10, True)
    shapes = {name: list(p.shape) for name, p in store.named_parameters()}
    assert shapes["stage2_unit1.conv2d.weight"] == [128, 256, 1, 1]
    assert shapes["stage2_unit1.conv2d_1.weight"] == [128, 128, 3, 3]
    assert shapes["stage2_unit1.conv2d_2.weight"] == [512, 128, 1, 1]
    assert shapes["stage2_unit1.projection.weight"] == [512, 256, 1, 1]
    assert "stage2_unit2.projection.weight" not in shapes


@pytest.mark.parametrize("name", ["resnet20", "convnet"])
def test_a_net_learns_in_a_model_fn(name: str):
    def model_fn(features, labels, mode):
        logits, predictions = net_of(name)(features, 3, mode == dovetail.ModeKeys.TRAIN)
        if mode == dovetail.ModeKeys.PREDICT:
            return dovetail.EstimatorSpec(mode, predictions)
        loss = functional.cross_entropy(logits, labels)
        train_op = optimizers.Momentum(0.05).minimize(loss)
        return dovetail.EstimatorSpec(mode, predictions, loss, train_op)

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % 3
    x = torch.randn(12, 12, 12, 3, generator=generator) * 0.1
    x[torch.arange(12), :, :, labels] += 1
    program = dovetail.build(model_fn, example=(x, labels), device="cpu")
    losses = [float(program.train_step(x, labels)["loss"]) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]
    predicted = program.predict_step(x)["predictions"]["classes"]
    assert predicted.shape == (12,)

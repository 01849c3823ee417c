"""What a program gives before, in and after three steps, and what a loop in plain torch gives."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import dovetail
from dovetail.definition.modes import ModeKeys
from dovetail.program.randomness import derive


def beside(name: str) -> Any:
    """Return a module of this folder, which is no package."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


torch_net, inline_net = beside("torch_net"), beside("inline_net")
GENERATOR = torch.Generator().manual_seed(7)
IMAGES = torch.rand(9, 8, 8, 3, generator=GENERATOR)
LABELS = torch.randint(0, 5, (9,), generator=GENERATOR)
FEATURES = {"image": IMAGES}
STEPS = 3


def batch_of(way: Any) -> tuple[Any, Any]:
    """Return the batch; a params file's own data.py reads it."""
    if not hasattr(way, "input_fn"):
        return FEATURES, LABELS
    ((features, labels),) = way.input_fn(ModeKeys.TRAIN)(way.resolved.definition.params)
    return features, labels


def torch_name(name: str) -> str:
    """Return what the torch module calls a tensor of a program."""
    name = name.removeprefix("net.").removeprefix("model.")
    layer, _, tensor = name.rpartition(".")
    return f"{inline_net.NAMES.get(layer, layer)}.{tensor}"


def as_it_is(value: Tensor) -> Tensor:
    return value


def found(
    way: Any,
    start: dict[str, Tensor],
    name_of: Callable[[str], str] = torch_name,
    into: Callable[[Tensor], Tensor] = as_it_is,
    back: Callable[[Tensor], Tensor] = as_it_is,
    parts: int = 1,
) -> Any:
    """Return what a program with these weights gives, before, in and after three steps.

    Each step cuts its 9 examples into `parts`. `into` and `back` turn torch's tensors into the
    way's own layout, and back.
    """
    features, labels = batch_of(way)
    definition = way.resolved.definition if hasattr(way, "resolved") else way
    program = dovetail.build(definition, example=(features, labels), device="cpu")
    state = program.state()
    assert {name_of(name) for name in state} == start.keys()
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(into(start[name_of(name)]))
    results = []

    def see() -> None:
        evaluated = program.eval_step(features, labels)["loss"]
        results.append((evaluated, program.predict_step(features)["predictions"]["output"]))

    see()
    for _ in range(STEPS):
        loss = program.train_step(features, labels, parts=parts)["loss"]
        named = program.network.named_parameters()
        results.append((loss, {name_of(name): back(p.grad) for name, p in named}))
        see()
    results.append({name_of(name): back(value) for name, value in program.state().items()})
    return results


def expected(net: torch.nn.Module) -> Any:
    """Return the same of a loop in plain torch."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    results: list[Any] = []

    def see() -> None:
        net.eval()
        with torch.no_grad():
            logits = net(IMAGES)
            results.append((F.cross_entropy(logits, LABELS), logits))

    see()
    for step in range(STEPS):
        net.train()
        torch.manual_seed(derive(0, step, 0))  # the seed, the step, the part
        loss = F.cross_entropy(net(IMAGES), LABELS)
        optimizer.zero_grad()
        loss.backward()
        named = {name: p.grad for name, p in net.named_parameters()}
        optimizer.step()
        results.append((loss.detach(), named))
        see()
    return [*results, net.state_dict()]


def plain_net(normed: bool) -> Any:
    """Return the torch module with weights that no way begins with by itself."""
    torch.manual_seed(11)
    net = torch_net.Net(normed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return net


def starting(net: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}

"""Parameters that a loss depends on and the program does not hold: found before the first step."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from dovetail.errors import DefinitionError


def check_loss(network: nn.Module, name: str, loss: Tensor) -> None:
    """Refuse a loss that depends on no parameter, or on one that the network does not hold.

    Raises:
      DefinitionError: naming the parameter's module, and the cure.
    """
    if not loss.requires_grad:
        held = any(True for _ in network.parameters())
        raise DefinitionError(
            f"The loss of train_op '{name}' does not depend on any parameter that is trained, so "
            "there is nothing to train. "
            + (
                "See that it is computed from the output of the layers, without .detach(), "
                ".numpy(), torch.tensor(...) or torch.no_grad()."
                if held
                else "Make the layers with dovetail.layers, such as "
                "layers.layer(torch.nn.Linear, 3, 4)(x)."
            )
        )
    held_parameters = {id(p) for p in network.parameters()}
    for leaf in _leaves(loss):
        if isinstance(leaf, nn.Parameter) and id(leaf) not in held_parameters:
            raise DefinitionError(_message(leaf))


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    seen: set[Any] = set()
    todo = [loss.grad_fn] if loss.grad_fn is not None else []
    while todo:
        node: Any = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            yield variable
        todo.extend(n for n, _ in node.next_functions if n is not None)


def _message(parameter: nn.Parameter) -> str:
    for candidate in gc.get_objects():
        if not issubclass(type(candidate), nn.Module):  # isinstance would wake lazy proxies
            continue
        for name, own in candidate.__dict__.get("_parameters", {}).items():
            if own is parameter:
                kind = type(candidate).__name__
                return (
                    f"The loss depends on '{name}' (shape {list(parameter.shape)}) of "
                    f"{candidate!r}, which the program does not hold, so it would not be trained "
                    f"or saved. If it is made inside model_fn, write "
                    f"layers.layer(torch.nn.{kind}, ...); if it is made outside, "
                    "layers.layer(the_module, name='...')."
                )
    return (
        f"The loss depends on a parameter of shape {list(parameter.shape)} that the program does "
        "not hold, so it would not be trained or saved. Make it with "
        "layers.get_variable(name, shape)."
    )

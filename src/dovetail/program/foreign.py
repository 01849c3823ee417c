"""Parameters that a loss depends on and the program does not hold: found before the first step."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from dovetail.errors import DefinitionError
from dovetail.layers.keras.objects import is_keras_layer

_OWN_FOLDER = str(Path(__file__).parent.parent)
_TORCH_FOLDER = str(Path(torch.__file__).parent)


@dataclass(frozen=True)
class _Place:
    line: str
    """`file:line` of the user's function that Dovetail called last."""
    method: str | None
    """That function, if it is a method of a module: `Net.forward`."""


@dataclass(eq=False)
class Registrations:
    """What modules took up while model_fn ran.

    Attributes:
      parameters: (module, name, parameter, the user's place that made it).
      children: (module, child).
    """

    parameters: list[tuple[nn.Module, str, Tensor | None, _Place]] = field(default_factory=list)
    children: list[tuple[nn.Module, nn.Module | None]] = field(default_factory=list)


@contextmanager
def registrations() -> Iterator[Registrations]:
    """Note which parameters and children modules take up inside the `with` block.

    A module that is made inside model_fn and not kept is gone when model_fn returns; the notes hold
    it, so that it can be named.
    """
    noted = Registrations()

    def note_parameter(module: nn.Module, name: str, parameter: Tensor | None) -> None:
        noted.parameters.append((module, name, parameter, _place()))

    def note_child(module: nn.Module, name: str, child: nn.Module | None) -> None:
        noted.children.append((module, child))

    handles = (
        torch_module.register_module_parameter_registration_hook(note_parameter),
        torch_module.register_module_module_registration_hook(note_child),
    )
    try:
        yield noted
    finally:
        for handle in handles:
            handle.remove()


def _place() -> _Place:
    keras = getattr(sys.modules.get("keras"), "__file__", None)
    skipped = (_TORCH_FOLDER, str(Path(keras).parent)) if keras else (_TORCH_FOLDER,)
    frame = sys._getframe(2)
    place = _Place("model_fn", None)
    while frame is not None and not frame.f_code.co_filename.startswith(_OWN_FOLDER):
        code = frame.f_code
        if not code.co_filename.startswith(skipped):
            first = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
            own = issubclass(type(first), nn.Module) and hasattr(type(first), code.co_name)
            method = f"{type(first).__name__}.{code.co_name}" if own else None
            place = _Place(f"{code.co_filename}:{frame.f_lineno}", method)
        frame = frame.f_back
    return place


def check_loss(
    network: nn.Module, name: str, loss: Tensor, noted: Registrations | None = None
) -> None:
    """Refuse a loss that depends on no parameter, or on one that the network does not hold.

    Args:
      network: holds what is trained and saved.
      name: of the train_op whose loss it is.
      loss: a scalar with its graph.
      noted: what modules took up while the loss was computed, see `registrations`.

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
    trained = False
    for leaf in _leaves(loss):
        trained = trained or leaf.requires_grad
        if isinstance(leaf, nn.Parameter) and id(leaf) not in held_parameters:
            raise DefinitionError(_message(leaf, noted or Registrations()))
    if not trained:
        raise DefinitionError(
            f"The loss of train_op '{name}' depends on frozen parameters alone, so there is "
            "nothing to train. Leave some of them out of freeze."
        )


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


def _message(parameter: nn.Parameter, noted: Registrations) -> str:
    shape = list(parameter.shape)
    for module, name, own, place in noted.parameters:
        if own is parameter and is_keras_layer(module):
            return _of_keras(module, name, shape)
        if own is parameter:
            whole = _outermost(module, noted)
            kind = type(whole).__name__
            shown = whole if isinstance(module, nn.ParameterDict) else module  # one of Keras'
            kind = f"torch.nn.{kind}" if getattr(nn, kind, None) is type(whole) else kind
            cure = f"Write layers.layer({kind}, ...)(x) instead of {kind}(...)(x)."
            if is_keras_layer(whole):
                cure += " A Keras model made outside of it: layers.layer(the_model, name='...')(x)."
            if place.method is not None:
                holder = place.method.split(".")[0]
                cure = f"Make it in {holder}.__init__, as self.name = {kind}(...), and call that."
            return (
                f"{place.line}: the loss depends on '{name}' (shape {shape}) of {shown!r}, which "
                f"is made inside {place.method or 'model_fn'}: it would be new at each step, and "
                f"never trained or saved. {cure}"
            )
    for candidate in gc.get_objects():
        if not issubclass(type(candidate), nn.Module):  # isinstance would wake lazy proxies
            continue
        for name, own in candidate.__dict__.get("_parameters", {}).items():
            if own is parameter and is_keras_layer(candidate):
                return _of_keras(candidate, name, shape)
            if own is parameter:
                return (
                    f"The loss depends on '{name}' (shape {shape}) of {_shown(candidate)}, which "
                    "the program does not hold, so it would not be trained or saved. Write "
                    "layers.layer(the_module, name='...')(x) instead of the_module(x)."
                )
    return (
        f"The loss depends on a parameter of shape {shape} that the program does not hold, so it "
        "would not be trained or saved. Make it with layers.get_variable(name, shape)."
    )


def _of_keras(layer: Any, name: str, shape: list[int]) -> str:
    return (
        f"The loss depends on '{name}' (shape {shape}), a torch parameter of the Keras "
        f"{type(layer).__name__} '{layer.name}'. Keras counts its own variables alone, so it would "
        f"not be trained or saved. Make it with self.add_weight(shape=..., name='{name}')."
    )


def _shown(module: nn.Module) -> str:
    if isinstance(module, nn.ParameterDict):  # of a Keras layer, which has variables of its own
        for candidate in gc.get_objects():
            if issubclass(type(candidate), nn.Module) and any(
                child is module for child in candidate.__dict__.get("_modules", {}).values()
            ):
                return repr(candidate)
    return repr(module)


def _outermost(module: nn.Module, noted: Registrations) -> nn.Module:
    """Return the largest module made inside model_fn of which `module` is a part."""
    above: nn.Module | None = module
    while above is not None:
        module = above
        above = next((holder for holder, child in noted.children if child is module), None)
    return module

"""The variables of a Keras layer as parameters and buffers of torch modules, by readable names.

Keras keeps its variables to itself: its own torch names are paths (`_torch_params.conv2d/kernel`),
and moving statistics are frozen parameters there. Here a tree of plain modules is made of the
variables' paths: weights are the very parameters that Keras made, all else are buffers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.layers.as_given import HELD
from dovetail.layers.keras.objects import is_functional, wraps_torch


class KerasGroup(nn.Module):
    """Holds the parameters and buffers of one part of a Keras layer.

    Attributes:
      owners: the Keras layers whose variables these are.
    """

    def __init__(self) -> None:
        super().__init__()
        # A tuple, since Keras layers are torch modules, and would become children.
        self.owners: tuple[Any, ...] = ()

    def hold(self) -> None:
        """Let Keras normalize by its moving statistics, and no longer move them."""
        for owner in self.owners:
            if owner._trainable:
                vars(owner)[HELD] = True
                owner._trainable = False


Bound = tuple[Any, nn.Module, str, str]
"""A Keras variable, the module that holds its value, the dict there that does (`_parameters` or
`_buffers`; torch.export puts other dicts in their place), and the key in that dict."""


def unbound(layer: Any, known: set[int]) -> bool:
    """Whether a Keras layer has variables whose ids are not among `known`."""
    return any(id(v) not in known for part in layer._flatten_layers() for v in _own(part))


def bind(root: KerasGroup, layer: Any, known: set[int]) -> list[Bound]:
    """Put the variables that are not yet known into a tree of modules below `root`.

    Weights become parameters, frozen ones too, as torch's frozen parameters are; what was made
    untrainable (moving statistics, states of recurrent layers) becomes a buffer.

    Args:
      root: stands for the layer itself.
      layer: a Keras layer or model.
      known: ids of the variables that are in the tree already; the new ones are added.

    Returns:
      The new variables, in the order of Keras' `weights`.
    """
    bound: list[Bound] = []
    owners = {id(v): part for part in layer._flatten_layers() for v in _own(part)}
    for part in layer._flatten_layers():
        if wraps_torch(part):
            bound.extend(_bind_module(root, part, known))
    states = [v for part in layer._flatten_layers() for v in _states(part)]
    for variable in (*layer.weights, *states):
        if id(variable) in known:
            continue
        known.add(id(variable))
        owner = owners[id(variable)]
        group, name = _place(root, layer, variable.path)
        if not any(o is owner for o in group.owners):
            group.owners = (*group.owners, owner)
        value = variable._value.detach()
        if any(v is variable for v in owner._trainable_variables):
            own = variable._value
            if not isinstance(own, nn.Parameter):
                own = nn.Parameter(value, requires_grad=bool(variable.trainable))
            group.register_parameter(name, own)
            bound.append((variable, group, "_parameters", name))
        else:
            group.register_buffer(name, value)
            bound.append((variable, group, "_buffers", name))
    return bound


def _own(part: Any) -> Iterator[Any]:
    yield from part._trainable_variables
    yield from part._non_trainable_variables
    yield from _states(part)


def _states(part: Any) -> Iterator[Any]:
    """Yield what a recurrent layer carries from batch to batch, which Keras keeps no list of."""
    keras: Any = sys.modules["keras"]
    if isinstance(part, keras.layers.RNN) and part.states is not None:
        yield from keras.tree.flatten(part.states)


def _place(root: KerasGroup, layer: Any, path: str) -> tuple[KerasGroup, str]:
    """Return the module that a variable belongs in, made if need be, and its name there."""
    parts = [part.replace(".", "_") or "_" for part in path.split("/")]
    if len(parts) > 1 and parts[0] == layer.name and not is_functional(layer):
        del parts[0]  # all paths begin with the layer's own name
    group = root
    for part in parts[:-1]:
        name = part
        while True:
            child = group._modules.get(name)
            if isinstance(child, KerasGroup):
                break
            if not hasattr(group, name):
                child = KerasGroup()
                child.training = group.training
                group.add_module(name, child)
                break
            name = f"{name}_layer"  # an attribute of torch modules, or a wrapped torch module
        group = child
    name, number = parts[-1], 0
    while hasattr(group, name):
        number += 1
        name = f"{parts[-1]}_{number}"
    return group, name


def _bind_module(root: KerasGroup, part: Any, known: set[int]) -> list[Bound]:
    """Take the torch module within a Keras layer as it is, its buffers and modes included."""
    variables = [v for v in _own(part) if id(v) not in known]
    if not variables:
        return []
    known.update(id(v) for v in variables)
    name, number = part.name.replace(".", "_"), 0
    while hasattr(root, name):
        number += 1
        name = f"{part.name}_{number}"
    root.add_module(name, part.module)
    places = {
        id(parameter): (module, "_parameters", key)
        for module in part.module.modules()
        for key, parameter in module._parameters.items()
        if parameter is not None
    }
    return [(v, *places[id(v._value)]) for v in variables if id(v._value) in places]


def point(bound: list[Bound]) -> None:
    """Let every Keras variable have the value that its module holds now.

    Values are replaced under `functional_call`, in tracing, and where a module is moved. Nothing is
    written where they were not, so a traced call writes to nothing.
    """
    for variable, module, kind, name in bound:
        value = getattr(module, kind)[name]
        if variable._value is not value:
            variable._value = value


def tensors(bound: list[Bound]) -> Iterator[Tensor]:
    """Yield the values that the modules hold now."""
    for _, module, kind, name in bound:
        yield getattr(module, kind)[name]


def device_of(bound: list[Bound]) -> torch.device | None:
    """Return where the variables are; None if there are none."""
    return next((value.device for value in tensors(bound)), None)

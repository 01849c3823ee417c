"""A module from outside as it was given, without what a program has made of it since."""

from __future__ import annotations

from typing import Any

from torch import nn

from dovetail.layers.keras.objects import is_keras_layer

FROZEN = "_frozen_by_program"
"""On a parameter that a program holds fast and that was trained before."""
RECOMPUTED = "_recomputed_by_program"
"""On a module whose forward a program has replaced."""
HELD = "held"
"""On a batch normalization whose statistics a program holds."""


def restore_given(given: nn.Module, module: nn.Module) -> nn.Module:
    """Undo what a program did to a module that a second program now takes, and return it.

    Args:
      given: the module that lives outside.
      module: it, or a copy of it.
    """
    if is_keras_layer(given):
        return _restore_keras(given, module)
    for theirs, own in zip(given.parameters(), module.parameters(), strict=True):
        if getattr(theirs, FROZEN, False):
            own.requires_grad_(True)
            if own is theirs:
                delattr(own, FROZEN)
    for part in module.modules():
        if vars(part).pop(RECOMPUTED, False):
            vars(part).pop("forward")
        vars(part).pop(HELD, None)
    return module


def _restore_keras(given: Any, layer: Any) -> Any:
    for theirs, own in zip(given.weights, layer.weights, strict=True):
        if getattr(theirs._value, FROZEN, False):
            own._value.requires_grad_(True)
            if own is theirs:
                delattr(own._value, FROZEN)
    for part in layer._flatten_layers():
        if vars(part).pop(HELD, False):
            part._trainable = True
    return layer

"""How the features of a batch reach a Keras model: by the names of its inputs."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from dovetail.definition.features_call import FeaturesCall
from dovetail.errors import DefinitionError, nearest
from dovetail.layers.keras.objects import describe_keras, is_functional


class FunctionalCall:
    """Passes features to a functional Keras model by the names of its inputs.

    One input gets its tensor, also from a dict of several features; several get what the model's
    own inputs are: a dict, a list, or a structure of them. Features that are no input are left out.
    """

    def __init__(self, model: Any) -> None:
        self.what = f"model: {describe_keras(model)}"
        self.inputs = model._inputs_struct
        self.names: tuple[str, ...] = tuple(_names(self.inputs))
        single = self.inputs
        while isinstance(single, (list, tuple)) and len(single) == 1:
            single = single[0]
        self.single = single if hasattr(single, "shape") else None

    def __call__(self, module: Any, features: Any) -> Any:
        if not isinstance(features, dict):
            if self.single is None and not isinstance(features, (list, tuple)):
                raise DefinitionError(
                    f"{self.what} has the inputs {', '.join(self.names)}, and the features are one "
                    "tensor. Let input_fn return a dict: {'" + self.names[0] + "': ..., ...}."
                )
            return module(features)
        if self.single is not None and len(features) == 1:
            (only,) = features.values()  # there is nothing to mistake it for
            return module(only)
        missing = [name for name in self.names if name not in features]
        if missing and not torch.compiler.is_compiling():
            raise DefinitionError(
                f"{self.what} has the inputs {', '.join(self.names)}, and the features are "
                f"{', '.join(features)}: {', '.join(missing)} missing."
                f"{nearest(missing[0], list(features))} Name the inputs as input_fn names the "
                "features: keras.Input(shape, name='...')."
            )
        return module(_filled(self.inputs, features))


class SubclassCall(FeaturesCall):
    """Passes features to a Keras model with a `call` of its own, by the names of its arguments."""

    def __init__(self, model: Any) -> None:
        signature = inspect.signature(model.call)
        kept = [p for p in signature.parameters.values() if p.name not in _CONTEXT]
        super().__init__(model, kept)
        self.what = f"{type(model).__name__}.call"


_CONTEXT = ("training", "mask")


def keras_call(model: Any) -> FunctionalCall | SubclassCall:
    """Return what passes features to a Keras model."""
    inner = getattr(model, "_functional", None)  # of a Sequential that is built
    if is_functional(model):
        return FunctionalCall(model)
    return SubclassCall(model) if inner is None else FunctionalCall(inner)


def _names(inputs: Any) -> Sequence[str]:
    if isinstance(inputs, dict):
        return [name for key in inputs for name in _names_at(key, inputs[key])]
    if isinstance(inputs, (list, tuple)):
        return [name for item in inputs for name in _names(item)]
    return [inputs.name]


def _names_at(key: str, item: Any) -> Sequence[str]:
    return _names(item) if isinstance(item, (dict, list, tuple)) else [key]


def _filled(inputs: Any, features: dict[str, Any]) -> Any:
    """Return the features in the structure of a model's inputs."""
    if isinstance(inputs, dict):
        return {
            key: _filled(item, features) if isinstance(item, (dict, list, tuple)) else features[key]
            for key, item in inputs.items()
        }
    if isinstance(inputs, (list, tuple)):
        return type(inputs)(_filled(item, features) for item in inputs)
    return features[inputs.name]

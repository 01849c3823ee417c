"""Knowing a Keras layer without importing Keras, and what is asked of one before it is used."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from dovetail.errors import DefinitionError


def is_keras_layer(value: Any) -> bool:
    """Whether `value` is a Keras layer or model. Keras is not imported to find out.

    Example:
      >>> is_keras_layer(3)
      False
    """
    kind = _layer_class()
    return kind is not None and isinstance(value, kind)


def is_keras_class(value: Any) -> bool:
    """Whether `value` is a class of Keras layers or models."""
    kind = _layer_class()
    return kind is not None and isinstance(value, type) and issubclass(value, kind)


def _layer_class() -> type | None:
    keras = sys.modules.get("keras")
    return getattr(keras, "Layer", None)


def require_torch_backend(what: str) -> None:
    """Refuse Keras on another backend than torch; `what` begins the message."""
    keras: Any = sys.modules["keras"]
    backend = keras.backend.backend()
    if backend != "torch":
        raise DefinitionError(
            f"{what} is Keras on its {backend} backend, and programs run on torch. Set the "
            "environment variable KERAS_BACKEND=torch before Keras is imported: "
            "`os.environ['KERAS_BACKEND'] = 'torch'` above `import keras`, or in the shell."
        )


def is_functional(layer: Any) -> bool:
    """Whether a Keras model is one of the functional API: its graph of calls is known."""
    return hasattr(type(layer), "operations")


def never_has_state(layer: Any) -> bool:
    """Whether a Keras layer neither has variables nor will make any, so far as can be known.

    A layer makes its variables in `build`, or holds layers that do.
    """
    if layer.weights:
        return False
    makes_none = getattr(type(layer).build, "_is_default", False) and not layer._layers
    return layer.built or makes_none


def describe_keras(layer: Any) -> str:
    """Return how messages name a Keras layer: `Keras Dense 'logits'`."""
    return f"Keras {type(layer).__name__} '{layer.name}'"


def is_batch_normalization(layer: Any) -> bool:
    """Whether a Keras layer keeps moving statistics of its inputs."""
    keras: Any = sys.modules["keras"]
    return isinstance(layer, keras.layers.BatchNormalization)


def wraps_torch(layer: Any) -> bool:
    """Whether a Keras layer is a torch module in Keras' clothes."""
    keras: Any = sys.modules["keras"]
    return isinstance(layer, keras.layers.TorchModuleWrapper)


def trains_unless_told(layer: Any) -> bool:
    """Whether a Keras layer is in training where its call says nothing of it."""
    parameter = layer._call_signature.parameters.get("training")
    says = parameter is not None and parameter.default not in (None, False, inspect.Parameter.empty)
    return says or wraps_torch(layer)

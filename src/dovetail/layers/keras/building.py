"""Making the variables of a Keras layer, which it makes when it is first called."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def build(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Call a Keras layer once, so that it makes its variables, on the CPU.

    The call is symbolic, with an open batch size: nothing is computed, and no statistics move.
    Where a layer can't be called so, it is called on the batch itself, as in inference.

    Args:
      layer: a Keras layer or model.
      args, kwargs: what it is about to be called with.
    """
    keras: Any = sys.modules["keras"]

    def symbol(tensor: Tensor) -> Any:
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        return keras.KerasTensor((None, *tensor.shape[1:]), dtype=dtype)

    with keras.device("cpu"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the symbolic call; the real one gives its own
        try:
            layer(*_mapped(args, symbol), **_mapped(kwargs, symbol))
        except Exception:
            if not layer.built or any(not part.built for part in layer._flatten_layers()):
                own = {**_mapped(kwargs, Tensor.cpu), "training": False}
                layer(*_mapped(args, Tensor.cpu), **own)


def _mapped(value: Any, function: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return function(value) if value.dim() else value
    if isinstance(value, dict):
        return {key: _mapped(item, function) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(item, function) for item in value)
    return value

"""What can be said of a call of a layer: where it stands, what it is called, whether it changed."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_LAYERS_FOLDER = str(Path(__file__).parent)
_TORCH_FOLDER = str(Path(torch.__file__).parent)


_PLAIN = frozenset({bool, int, float, str, type(None)})


def base_name(factory: Any) -> str:
    if isinstance(factory, nn.Module):
        return type(factory).__name__.lower()
    while isinstance(factory, functools.partial):
        factory = factory.func
    name = getattr(factory, "__name__", None) or type(factory).__name__
    return "layer" if name == "<lambda>" else name.lower()


def same(a: Any, b: Any) -> bool:
    """Whether two arguments of a layer are the same.

    Functions made anew at each call are, if their code and what they enclose is; tensors and
    arrays are, if their values are; Keras' layers, initializers and regularizers are, if their
    configs are.
    """
    if a is b:
        return True
    if type(a) in _PLAIN and type(b) in _PLAIN:
        return a == b
    if isinstance(a, dict):
        if not isinstance(b, dict) or len(a) != len(b):
            return False
        for key, value in a.items():  # at every call of a layer, and most values are one object
            if key not in b or (value is not b[key] and not same(value, b[key])):
                return False
        return True
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, functools.partial):
        return (
            isinstance(b, functools.partial)
            and same(a.func, b.func)
            and same(a.args, b.args)
            and same(a.keywords, b.keywords)
        )
    if hasattr(a, "__code__") and hasattr(b, "__code__"):
        return (
            a.__code__ is b.__code__
            and same(a.__defaults__, b.__defaults__)
            and same(_enclosed(a), _enclosed(b))
        )
    if isinstance(a, (Tensor, np.ndarray)):
        return (
            type(a) is type(b)
            and a.shape == b.shape
            and a.dtype == b.dtype
            and bool((a == b).all())
        )
    if a.__class__ is b.__class__ and hasattr(a, "get_config"):
        return same(_config(a), _config(b))
    return bool(a == b)


def _config(value: Any) -> dict[str, Any]:
    """Return what a Keras object is made from, without names, which Keras numbers per process."""

    def nameless(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: nameless(item) for key, item in part.items() if key != "name"}
        return [nameless(item) for item in part] if isinstance(part, (list, tuple)) else part

    return nameless(value.get_config())


def _enclosed(function: Any) -> list[Any]:
    """Return what a function encloses; of functions, which may enclose each other, their code."""
    values: list[Any] = []
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # not yet filled
            continue
        values.append(getattr(value, "__code__", value))
    return values


def describe(factory: Any) -> str:
    return getattr(factory, "__name__", None) or repr(factory)


def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())])


def call_site() -> str:
    """Return `file:line` of the nearest frame that is the user's."""
    frame = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith((_LAYERS_FOLDER, _TORCH_FOLDER)):
            return f"{filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "model_fn"

"""Where Keras computes: it moves every tensor it is given to one device of its own choice."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def keras_on(value: Any) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which Keras computes where the tensors of `value` are.

    Keras takes the accelerator there is, even where a program runs on the CPU. Outside Keras, and
    where it computes there already, the context does nothing.

    Args:
      value: a tensor, or dicts and lists of tensors; the first one counts.

    >>> with keras_on(torch.ones(2)):
    ...     pass
    """
    keras: Any = sys.modules.get("keras")
    if keras is None or torch.compiler.is_compiling():
        return contextlib.nullcontext()
    device = next(_devices(value), None)
    if device is None:
        return contextlib.nullcontext()
    from keras.src.backend.torch.core import get_device

    if str(get_device()) in (device.type, str(device)):
        return contextlib.nullcontext()
    return keras.device(str(device))


def _devices(value: Any) -> Iterator[torch.device]:
    if isinstance(value, Tensor):
        yield value.device
    elif isinstance(value, dict):
        for item in value.values():
            yield from _devices(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _devices(item)

"""How a layer's parameters are made: their type, their first values, whether they are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.errors import DefinitionError
from dovetail.layers.calls import call_site

Initializer = Callable[[Tensor], Any]
"""Fills a tensor in place, as the functions of `torch.nn.init` do, or returns its values."""

xavier_uniform: Initializer = nn.init.xavier_uniform_
zeros: Initializer = nn.init.zeros_


class First:
    """What only the first call of a layer decides, and no later call is held against.

    It carries the type of new weights. A program that was moved to float64 after it was built
    must find its layers again, so this may be no reason to refuse a call. Weights are at least of
    torch's default type: inputs are bfloat16 under autocast, weights then stay float32.
    """

    __slots__ = ("dtype", "shape")

    def __init__(self, inputs: Tensor) -> None:
        self.dtype = inputs.dtype
        self.shape = inputs.shape

    def weight_dtype(self) -> torch.dtype:
        """Return the type for weights that meet these inputs."""
        return torch.promote_types(self.dtype, torch.get_default_dtype())


def fill(tensor: Tensor, initializer: Initializer) -> None:
    """Give a new parameter its first values, drawn from torch's default generator.

    Args:
      tensor: the parameter, of any shape.
      initializer: fills its argument in place, or returns a tensor of that shape.

    Raises:
      DefinitionError: the initializer is not a function, or returns another shape.
    """
    if not callable(initializer):
        raise DefinitionError(
            f"{call_site()}: an initializer is a function that fills a tensor, such as "
            f"torch.nn.init.zeros_ or lambda w: w.normal_(std=0.1); it is {initializer!r}."
        )
    with torch.no_grad():
        values = initializer(tensor)
        if isinstance(values, Tensor) and values is not tensor:
            if values.shape != tensor.shape:
                raise DefinitionError(
                    f"{call_site()}: an initializer returned shape {list(values.shape)} for a "
                    f"parameter of shape {list(tensor.shape)}."
                )
            tensor.copy_(values)


def positive(value: Any, what: str) -> int:
    """Return `value`, or refuse it if it is not a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DefinitionError(f"{call_site()}: {what} must be a positive integer; it is {value!r}.")
    return value


def sizes(value: Any, count: int, what: str) -> tuple[int, ...]:
    """Return a size per dimension from one number or from a sequence of `count` numbers."""
    if type(value) is int and value > 0:  # the quick way for what is nearly always given
        return (value,) * count
    if isinstance(value, (tuple, list)):
        if len(value) != count:
            raise DefinitionError(
                f"{call_site()}: {what} must be one integer or {count} of them; it is {value!r}."
            )
        return tuple(positive(v, what) for v in value)
    return (positive(value, what),) * count

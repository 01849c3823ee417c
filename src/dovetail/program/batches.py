"""Batches on their way into a program: nested tensors, their size, their device, their parts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dovetail.errors import DataError, a_kind


def mapped(value: Any, function: Callable[[Tensor], Any]) -> Any:
    """Apply `function` to every tensor of a tensor, dict, list or tuple; None stays None."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (dict, Mapping)):  # to ask the abstract class alone takes longer
        return {key: mapped(item, function) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mapped(item, function) for item in value]
    return value


def as_tensors(value: Any, device: torch.device, what: str) -> Any:
    """Return features or labels as tensors on `device`: arrays and numbers are converted.

    Raises:
      DataError: something in it can't be a tensor.
    """
    if isinstance(value, Tensor):
        return value if value.device == device else value.to(device, non_blocking=True)
    if value is None:
        return None
    if isinstance(value, (dict, Mapping)):
        return {k: as_tensors(v, device, f"{what}['{k}']") for k, v in value.items()}
    try:
        array = np.asarray(value)
        if array.dtype.kind in "USOVMm":
            raise TypeError(f"numpy makes it an array of {array.dtype}")
        if isinstance(value, (float, list, tuple)) and array.dtype == np.float64:
            array = array.astype(np.float32)  # numbers of Python's, as torch.tensor takes them
        # torch takes no views that run backwards, no foreign byte order, and warns of read-only.
        if not array.flags.writeable or any(stride < 0 for stride in array.strides):
            array = array.copy()
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        return torch.as_tensor(array).to(device, non_blocking=True)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{what} is {a_kind(value)} that can't be made a tensor: {error}. Features "
            "and labels are tensors, arrays, or dicts of them, batch first."
        ) from error


def count(features: Any, labels: Any = None) -> int:
    """Return the number of examples: the first dimension of the first tensor.

    Raises:
      DataError: there is no tensor with a first dimension.
    """
    for value in (features, labels):
        tensor = _first(value)
        if tensor is not None:
            return int(tensor.shape[0])
    raise DataError(
        "The batch holds no tensor with a first dimension, so its examples can't be counted. "
        "Features must be a tensor or a dict of tensors, batch first."
    )


def _first(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value if value.dim() > 0 else None
    if isinstance(value, (dict, Mapping)):
        for item in value.values():
            found = _first(item)
            if found is not None:
                return found
    return None


def cut(features: Any, labels: Any, parts: int) -> list[tuple[Any, Any]]:
    """Cut a batch into `parts` of nearly equal size, the larger ones first; none is empty.

    Raises:
      DataError: the tensors differ in their first dimension, so it is not the examples'.

    >>> [f.shape[0] for f, _ in cut(torch.zeros(7, 2), None, 3)]
    [3, 2, 2]
    """
    if parts == 1:
        return [(features, labels)]
    if parts < 1:
        raise DataError(f"A batch is cut into at least 1 part; parts={parts!r} was asked for.")
    total = count(features, labels)
    parts = min(parts, total)
    bounds = [0]
    for index in range(parts):
        bounds.append(bounds[-1] + total // parts + (index < total % parts))

    def piece(value: Any, start: int, stop: int) -> Any:
        return mapped(value, lambda t: _rows(t, start, stop, total))

    return [
        (piece(features, start, stop), piece(labels, start, stop))
        for start, stop in itertools.pairwise(bounds)
    ]


def _rows(tensor: Tensor, start: int, stop: int, total: int) -> Tensor:
    if tensor.dim() == 0:
        return tensor
    if tensor.shape[0] != total:
        raise DataError(
            f"The batch has {total} examples, and holds a tensor of shape {list(tensor.shape)}. To "
            "be cut into parts, every tensor of features and labels must have the examples as its "
            "first dimension."
        )
    return tensor[start:stop]

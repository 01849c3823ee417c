"""Rows of different lengths in one array, filled up at the end, with a mask of what is real."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.errors import DataError

if TYPE_CHECKING:
    import torch


def padded(
    values: Sequence[np.ndarray],
    value: Any = 0,
    *,
    sizes: Sequence[int | None] | None = None,
    multiple_of: int = 1,
    varying: int | None = None,
    where: Callable[[int], str] = "row {} of the batch".format,
) -> tuple[np.ndarray, np.ndarray]:
    """Put arrays of different sizes into one, each at the beginning of its row.

    Args:
      values: n arrays of one dtype and number of dimensions; the sizes may differ.
      value: what the rest is filled with.
      sizes: how large each dimension is to be; None, for one or all: the largest there is.
      multiple_of: sizes that are not given are rounded up to a multiple of it, so that a compiled
        step sees few shapes.
      varying: the mask covers so many dimensions, the first; None: all.
      where: names a row, for messages.

    Returns:
      the array [n, *sizes]; and the mask, bool [n, *sizes[:varying]], true where a value is real.

    Raises:
      DataError: if a row is larger than `sizes` allows, or its dtype can't hold `value`.

    >>> array, mask = padded([np.array([1, 2, 3]), np.array([4])], value=-1)
    >>> array.tolist(), mask.sum(axis=1).tolist()
    ([[1, 2, 3], [4, -1, -1]], [3, 1])
    """
    dtype, dims = _kind(values, sizes)
    shapes = np.array([array.shape for array in values], np.int64).reshape(len(values), dims)
    bounds = _bounds(shapes, sizes, multiple_of, where)
    out = np.empty((len(values), *bounds), dtype)
    _fill(out, value)
    real = _mask(shapes, bounds)
    if values:
        # Both run through the rows in the same order, the last dimension quickest.
        out[real] = np.concatenate([array.reshape(-1) for array in values])
    if varying is None or varying >= dims:
        return out, real
    return out, _mask(shapes[:, :varying], bounds[:varying])


def padded_tensors(
    values: Sequence[torch.Tensor], value: float = 0, *, sizes: Sequence[int | None] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Put tensors of different sizes into one; as `padded`, on the device where they are.

    Args:
      values: n tensors, at least one, of one dtype and number of dimensions.
      value: what the rest is filled with.
      sizes: as for `padded`.

    Returns:
      the tensor [n, *sizes]; and the mask, bool [n, *sizes].

    >>> import torch
    >>> padded_tensors([torch.ones(2), torch.ones(1)])[0]
    tensor([[1., 1.],
            [1., 0.]])
    """
    import torch

    if not values:
        raise DataError("padded_tensors takes at least one tensor; got none.")
    shapes = np.array([tuple(one.shape) for one in values], np.int64).reshape(len(values), -1)
    bounds = _bounds(shapes, sizes, 1, "row {} of the batch".format)
    out = values[0].new_full((len(values), *bounds), value)
    for row, one in enumerate(values):
        out[(row, *(slice(size) for size in one.shape))] = one
    return out, torch.from_numpy(_mask(shapes, bounds)).to(out.device)


def _kind(values: Sequence[Any], sizes: Sequence[int | None] | None) -> tuple[np.dtype[Any], int]:
    for one in values:
        if not isinstance(one, np.ndarray):
            raise DataError(
                "Arrays of numbers, or of text, can be padded; these rows are of "
                f"{type(one).__name__}, one value each."
            )
    kinds = {(one.dtype, one.ndim) for one in values}
    if len(kinds) > 1:
        raise DataError(f"Rows must agree in dtype and number of dimensions; got {kinds}.")
    return kinds.pop() if kinds else (np.dtype(np.float32), len(sizes or (0,)))


def _bounds(
    shapes: np.ndarray,
    sizes: Sequence[int | None] | None,
    multiple_of: int,
    where: Callable[[int], str],
) -> tuple[int, ...]:
    count, dims = shapes.shape
    wanted = [None] * dims if sizes is None else list(sizes)
    if len(wanted) != dims:
        raise DataError(f"sizes must name {dims} dimensions, as the rows have; got {wanted}.")
    bounds: list[int] = []
    for dim, size in enumerate(wanted):
        most = int(shapes[:, dim].max()) if count else 0
        if size is None:
            size = -(-most // multiple_of) * multiple_of
        elif most > size:
            row = int(shapes[:, dim].argmax())
            raise DataError(
                f"{where(row)} is of size {most} in dimension {dim}, more than the {size} that it "
                "is to be padded to. Give a larger size, or cut the row first."
            )
        bounds.append(size)
    return tuple(bounds)


def _fill(out: np.ndarray, value: Any) -> None:
    if out.dtype == object:
        if not isinstance(value, str | bytes):
            raise DataError(f"Text is padded with text, such as value=''; got {value!r}.")
        out[...] = value
        return
    held = np.asarray(value)
    with np.errstate(all="ignore"):
        cast = held.astype(out.dtype) if held.dtype.kind in "biuf" else None
    same = cast is not None and (out.dtype.kind == "f" or bool((cast == held).all()))
    if held.ndim or not same:
        raise DataError(f"Rows of {out.dtype} can't be padded with {value!r}.")
    out[...] = cast


def _mask(shapes: np.ndarray, bounds: Sequence[int]) -> np.ndarray:
    """True at each row's first `shapes[row]` places of every dimension: bool [n, *bounds]."""
    count, dims = shapes.shape
    mask = np.ones((count, *bounds), bool)
    for dim, bound in zip(range(dims), bounds, strict=True):
        reach = np.arange(bound) < shapes[:, dim, None]
        ones = list(itertools.repeat(1, dims))
        ones[dim] = bound
        mask &= reach.reshape(count, *ones)
    return mask

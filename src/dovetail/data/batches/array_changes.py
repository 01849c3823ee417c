"""Changes to the arrays of a batch: to a scale, with noise, mixed with each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dovetail.data.example_random import STREAM, generator, uniform
from dovetail.errors import DataError

# Each use has draws of its own, so that with the same seeds they are unrelated; see augment.py.
_CHOICE, _RADIUS, _ANGLE, _PARTNER, _SHARE = (n * STREAM for n in (8, 9, 10, 11, 12))


def chosen(seeds: np.ndarray, p: float, draw: int) -> np.ndarray:
    """Choose each item with a probability: bool [n].

    Raises:
      DataError: if the probability is not from 0 to 1.
    """
    if not isinstance(p, int | float) or not 0 <= p <= 1:
        raise DataError(f"A probability is a number from 0 to 1; got {p!r}.")
    if p == 1:
        return np.ones(len(seeds), bool)
    return uniform(seeds, draw=_CHOICE + draw) < p


def normalized(
    values: np.ndarray,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> np.ndarray:
    """Subtract a mean and divide by a deviation.

    Args:
      values: [n, ...] of numbers.
      mean, std: numbers, or one for each entry of the last dimension, in the units of the values.
        Neither: each item's own, over all its numbers (an item that is all one number becomes 0).
        One: the other is 0, or 1.

    Returns:
      float32 [n, ...].

    Raises:
      DataError: if a deviation is not above 0, or their number is not that of the last dimension.

    >>> normalized(np.array([[1, 3], [5, 5]])).tolist()
    [[-1.0, 1.0], [0.0, 0.0]]
    """
    x = values.astype(np.float32)
    if mean is None and std is None:
        axes = tuple(range(1, x.ndim))
        x -= x.mean(axes, keepdims=True, dtype=np.float64).astype(np.float32)
        deviation = x.std(axes, keepdims=True, dtype=np.float64).astype(np.float32)
        return x / np.where(deviation == 0, 1, deviation)
    shift = _per_channel("mean", 0 if mean is None else mean, x)
    scale = _per_channel("std", 1 if std is None else std, x)
    if not (scale > 0).all():
        raise DataError(f"normalize's std is above 0; got {scale.tolist()}.")
    x -= shift
    x /= scale
    return x


def noisy(
    values: np.ndarray,
    seeds: np.ndarray,
    scale: float,
    *,
    kind: str = "normal",
    p: float = 1.0,
    draw: int = 0,
) -> np.ndarray:
    """Add noise to some items, to each number its own.

    Args:
      values: [n, ...] of numbers.
      seeds: int64 [n], of the items.
      scale: the standard deviation of "normal" noise; half the width of "uniform" noise.
      kind: which of the two; both have mean 0.
      p: how likely each item gets any.
      draw: another number gives other noise for the same seeds.

    Returns:
      [n, ...] of the same dtype; whole numbers are rounded, and kept within what it holds.

    Normal noise is made by the transform of Box and Muller ("A note on the generation of random
    normal deviates", 1958).
    """
    if kind not in ("normal", "uniform") or not scale >= 0:
        raise DataError(
            'noise takes a scale of 0 or more, and the kind "normal" or "uniform"; got '
            f"{scale!r} and {kind!r}."
        )
    at = np.flatnonzero(chosen(seeds, p, draw))
    own, shape = seeds[at], values.shape[1:]
    if kind == "uniform":
        noise = uniform(own, -scale, scale, shape, draw=_RADIUS + draw)
    else:
        radius = np.sqrt(-2 * np.log1p(-uniform(own, shape=shape, draw=_RADIUS + draw)))
        noise = radius * np.cos(2 * np.pi * uniform(own, shape=shape, draw=_ANGLE + draw)) * scale
    made = values.copy()
    made[at] = cast_like(values[at] + noise, values.dtype)
    return made


def cast_like(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Cast to a dtype: to whole numbers by rounding, those beyond its range to its ends."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.clip(np.rint(values), info.min, info.max).astype(dtype)
    return values.astype(dtype)


def _per_channel(what: str, given: float | Sequence[float], values: np.ndarray) -> np.ndarray:
    numbers = np.asarray(given, np.float32)
    if numbers.ndim and (values.ndim < 2 or numbers.shape not in ((1,), values.shape[-1:])):
        raise DataError(
            f"normalize's {what} is one number, or one for each of the last dimension; got "
            f"{numbers.size} for values of shape {list(values.shape)}."
        )
    return numbers


def mixing(seeds: np.ndarray, alpha: float, draw: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Say for each item of a batch with which other it is mixed, and its own share.

    Args:
      seeds: int64 [n], of the items.
      alpha: the shares are of the Beta distribution of (alpha, alpha).
      draw: another number gives other partners and shares.

    Returns:
      partners: int64 [n], positions in the batch. Each item is partner once; in a batch of one it
        is its own.
      shares: float32 [n], from 0 to 1.

    Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", 2018.
    """
    if not alpha > 0:
        raise DataError(f"mixup's alpha is above 0; got {alpha!r}.")
    order = np.argsort(uniform(seeds, draw=_PARTNER + draw), kind="stable")
    partners = np.empty(len(seeds), np.int64)
    partners[order] = np.roll(order, 1)
    shares = [generator(seed, _SHARE + draw).beta(alpha, alpha) for seed in seeds.tolist()]
    return partners, np.array(shares, np.float32)


def mixed(values: np.ndarray, partners: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Mix each item with its partner: float32 [n, ...], the sum of both by their shares."""
    weights = shares.reshape(-1, *[1] * (values.ndim - 1))
    x = values.astype(np.float32)
    return x * weights + x[partners] * (1 - weights)


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Write classes as float32 [n, num_classes], 1 at the class and 0 elsewhere.

    Args:
      labels: whole numbers [n] or [n, 1], from 0 to num_classes - 1.
      num_classes: how many classes there are.

    Raises:
      DataError: if a label is none of them.

    >>> one_hot(np.array([1]), 3).tolist()
    [[0.0, 1.0, 0.0]]
    """
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] != 1 or (flat.size and not 0 <= flat.min() <= flat.max() < num_classes):
        raise DataError(
            f"Labels are [n], from 0 to {num_classes - 1} for {num_classes} classes; got shape "
            f"{list(labels.shape)}, from {labels.min()} to {labels.max()}."
        )
    made = np.zeros((len(labels), num_classes), np.float32)
    made[np.arange(len(labels)), flat[:, 0]] = 1
    return made

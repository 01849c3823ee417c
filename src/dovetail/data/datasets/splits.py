"""Dividing positions into parts for training and testing, or into folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from dovetail.errors import DataError

Part = TypeVar("Part")


class Split(NamedTuple, Generic[Part]):
    """The parts of an index or a data set.

    Attributes:
      train: what to train on.
      test: what to test on; None if there is none.
      validation: what to choose by; None if there is none.
    """

    train: Part
    test: Any = None
    validation: Any = None


def parted(order: np.ndarray, shares: float | Sequence[float]) -> list[np.ndarray | None]:
    """Cut positions into three parts by their shares.

    Args:
      order: int64 [n], the positions in the order in which they are dealt out.
      shares: of train; of train and test; or of train, test and validation. One: the rest is
        test; two: the rest, if any, is validation.

    Returns:
      the positions of train, test and validation; None for a part of share 0.

    Raises:
      DataError: if a share is not from 0 to 1, or they sum to more than 1, or a part that is
        asked for is too small for one item.

    >>> parted(np.arange(4), 0.75)
    [array([0, 1, 2]), array([3]), None]
    """
    given = [shares] if isinstance(shares, int | float) else list(shares)
    sensible = all(isinstance(one, int | float) and 0 <= one <= 1 for one in given)
    if not sensible or not 1 <= len(given) <= 3 or not 0 < sum(given) <= 1 + 1e-9:
        raise DataError(
            "shares are one to three numbers from 0 to 1 that sum to at most 1, such as 0.8 or "
            f"[0.7, 0.2, 0.1], for train, test and validation; got {shares!r}."
        )
    if len(given) < 3:
        rest = 1 - sum(given)
        given.append(rest if rest > 1e-9 else 0.0)
    given += [0.0] * (3 - len(given))
    ends = np.cumsum([0.0, *given])
    # 0.7 + 0.2 + 0.1 is a little below 1: nothing is to fall through.
    bounds = [round(len(order) * float(1 if end > 1 - 1e-9 else end)) for end in ends]
    parts: list[np.ndarray | None] = []
    names = ["train", "test", "validation"]
    for name, share, low, high in zip(names, given, bounds[:-1], bounds[1:], strict=True):
        if share > 0 and low == high:
            raise DataError(
                f"A share of {share:g} of {len(order)} items for {name} is less than one item. "
                "Give a larger share, or none."
            )
        parts.append(order[low:high] if share > 0 else None)
    if parts[0] is None:
        raise DataError(f"There must be something to train on; shares were {shares!r}.")
    return parts


def folded(order: np.ndarray, n_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut positions into folds of nearly equal size, the larger ones first.

    Args:
      order: int64 [n], the positions in the order in which they are dealt out.
      n_folds: how many folds.

    Returns:
      for each fold the positions of all others, and its own.

    Raises:
      DataError: if there are fewer than 2 folds, or more than items.
    """
    whole = isinstance(n_folds, int) and not isinstance(n_folds, bool)
    if not whole or not 2 <= n_folds <= len(order):
        raise DataError(f"n_folds is from 2 to the number of items, {len(order)}; got {n_folds!r}.")
    tests = np.array_split(order, n_folds)
    return [
        (np.concatenate([other for other in tests if other is not test]), test) for test in tests
    ]

"""Ids of items: from what a user gives to an array in which each comes once."""

from __future__ import annotations

from typing import Any

import numpy as np

from dovetail.errors import DataError


def unique_ids(index: Any) -> np.ndarray:
    """Make an array [n] of ids, not to be written to.

    Args:
      index: ids, as `ids_array` takes them.

    Raises:
      DataError: if one comes twice, which is named, or is not hashable.
    """
    ids = ids_array(index)
    seen: dict[Any, int] = {}
    values = ids.tolist()
    if ids.dtype.kind in "iuU" and len(set(values)) == len(values):
        ids.flags.writeable = False
        return ids
    for at, one in enumerate(values):
        try:
            first = seen.setdefault(one, at)
        except TypeError:
            raise DataError(f"Ids are hashable values; item {at} is {one!r}.") from None
        if first != at:
            raise DataError(
                f"Ids of an index are unique; {one!r} comes at positions {first} and {at}."
            )
        if one != one:  # no item could be found by it
            raise DataError(f"Ids of an index equal themselves; item {at} is {one!r}.")
    ids.flags.writeable = False
    return ids


def ids_array(index: Any) -> np.ndarray:
    """Make an array [n] of ids, a copy; text and numbers together stay what they are.

    Raises:
      DataError: if they are no list, array or other sequence, or of more than one dimension.

    >>> ids_array(("a", 1))
    array(['a', 1], dtype=object)
    """
    if isinstance(index, str | bytes | set | frozenset | dict | bool) or not hasattr(
        index, "__iter__"
    ):
        raise DataError(
            "An index is made from a length, a list or array of ids, or a function that gives "
            f"either; got {type(index).__name__} {index!r}."
        )
    if hasattr(index, "numpy"):  # a tensor
        index = index.numpy()
    if isinstance(index, np.ndarray):
        ids = index.copy()
    else:
        values = list(index)
        kinds = {isinstance(one, str) for one in values}
        plain = all(isinstance(one, int | np.integer | str) for one in values)
        if plain and len(kinds) == 1 and not any(isinstance(one, bool) for one in values):
            ids = np.array(values)
        else:
            ids = np.empty(len(values), object)
            ids[:] = values
    if ids.ndim != 1:
        raise DataError(f"Ids are an array of one dimension; got shape {list(ids.shape)}.")
    return ids

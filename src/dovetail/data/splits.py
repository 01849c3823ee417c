"""Dividing records into parts: by chance, or by a key that puts a row in its part for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.data.order import permuted
from dovetail.errors import DataError

if TYPE_CHECKING:
    from dovetail.data.records import Records

_CHUNK = 1 << 14  # rows whose keys are held at once


def split(records: Records, fractions: Mapping[str, float], seed: int = 0) -> dict[str, Records]:
    """Divide the rows at random into named views; see `Records.split`."""
    ends = _ends(fractions)
    order = np.arange(len(records))
    if len(order):
        order = permuted(seed, 0, len(order), order)
    bounds = [round(len(records) * end) for end in [0.0, *ends]]
    return {
        name: records.select(np.sort(order[low:high]))
        for name, low, high in zip(fractions, bounds[:-1], bounds[1:], strict=True)
    }


def split_by_hash(
    records: Records, field: str | None, fractions: Mapping[str, float], seed: int = 0
) -> dict[str, Records]:
    """Divide the rows into named views by a field's value; see `Records.split_by_hash`."""
    ends = _ends(fractions)
    numbers = records.numbers
    part = np.empty(len(records), np.int64)
    for start in range(0, len(records), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(records)))
        keys = numbers[rows] if field is None else records.gather(rows, [field])[field]
        places = [_place(value, seed) for value in keys]
        part[rows] = np.searchsorted(ends, places, "right")
    return {name: records.select(np.flatnonzero(part == at)) for at, name in enumerate(fractions)}


def part_of(key: Any, fractions: Mapping[str, float], seed: int = 0) -> str | None:
    """Say in which part a key belongs, now and always.

    Args:
      key: a text (such as a file's name), bytes, a number or an array of them.
      fractions: name -> share; together at most 1.
      seed: which division.

    Returns:
      the part's name; None for a key of the share that is left over.

    Raises:
      DataError: if a share is not above 0, or they sum to more than 1.

    >>> [part_of(f"{n}.png", {"train": 0.5, "test": 0.5}) for n in range(5)]
    ['test', 'test', 'test', 'test', 'train']
    """
    at = int(np.searchsorted(_ends(fractions), _place(key, seed), "right"))
    return list(fractions)[at] if at < len(fractions) else None


def _ends(fractions: Mapping[str, float]) -> np.ndarray:
    shares = list(fractions.values())
    if not shares or not all(share > 0 for share in shares) or not sum(shares) <= 1 + 1e-9:
        raise DataError(
            "split takes shares above 0 that sum to at most 1, such as "
            f'{{"train": 0.9, "test": 0.1}}; got {dict(fractions)}.'
        )
    ends = np.minimum(np.cumsum(shares), 1.0)
    # 0.7 + 0.2 + 0.1 is a little below 1: nothing is to fall through.
    return np.where(ends > 1 - 1e-9, 1.0, ends)


def _place(value: Any, seed: int) -> float:
    """Where in [0, 1) a key lies: the first 53 bits of its BLAKE2b hash."""
    digest = hashlib.blake2b(digest_size=8, key=str(seed).encode())
    _feed(digest, value)
    return (int.from_bytes(digest.digest(), "big") >> 11) / (1 << 53)


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, str):
        digest.update(b"s" + value.encode())
    elif isinstance(value, bytes):
        digest.update(b"b" + value)
    else:
        array = np.asarray(value)
        if array.dtype == object:
            for item in array.flat:
                content = item.encode() if isinstance(item, str) else item
                digest.update(b"o%d:" % len(content) + content)
            return
        # A whole number, or a fraction, is the same key in whichever dtype it is stored.
        wide = {"f": "<f8", "u": "<i8", "b": "<i8", "i": "<i8"}[array.dtype.kind]
        digest.update(b"n" + array.astype(wide).tobytes())

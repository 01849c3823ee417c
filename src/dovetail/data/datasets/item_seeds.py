"""A number for each item of a data set, whatever its id is, from which its seeds are made."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def item_keys(ids: np.ndarray) -> np.ndarray:
    """Give each id its key: whole numbers are their own, other ids get 64 bits of a hash.

    Args:
      ids: [n], of whole numbers, text, or anything that has a `repr` of its own.

    Returns:
      int64 [n]; it depends on the id alone, not on the batch, the data set or the process.

    >>> item_keys(np.array([3, 1])).tolist(), item_keys(np.array(["a.png"])).tolist()
    ([3, 1], [6266261796961190882])
    """
    if ids.dtype.kind in "iu":
        return ids.astype(np.int64)
    return np.array([_key(one) for one in ids.tolist()], np.int64)


def _key(one: Any) -> int:
    if isinstance(one, int) and -(2**63) <= one < 2**63:
        return int(one)
    text = one if isinstance(one, str) else repr(one)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)

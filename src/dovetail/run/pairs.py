"""What an input gives for one batch, taken apart."""

from __future__ import annotations

from typing import Any

from dovetail.errors import DataError, a_kind


def split_pair(item: Any, name: str, *, labelled: bool) -> tuple[Any, Any]:
    """Return (features, labels) of what an input gave for one batch.

    Raises:
      DataError: it is no such pair.
    """
    if item is None:
        raise DataError(
            f"{name} gave None for a batch; it must give (features, labels). Is its `return` there?"
        )
    if not isinstance(item, (tuple, list)):
        return item, None
    if len(item) == 2:
        return item[0], item[1] if labelled else None
    if len(item) == 1:  # what a DataLoader over a TensorDataset of one tensor gives
        return item[0], None
    raise DataError(
        f"{name} gave {a_kind(item)} of {len(item)} items for a batch; it must give "
        "(features, labels). Put several features into one dict."
    )

"""Saying what a damaged block of a shard holds: fields and rows, not only bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from dovetail.data.manifest import Shard
from dovetail.data.shards import DamagedBlockError


class Placed(Protocol):
    """A column that knows which rows have bytes where."""

    def rows_at(self, shard: int, begin: int, end: int, rows: int) -> tuple[int, int] | None:
        """Say which rows of a shard have bytes between two places of its file: first and last."""
        ...


def damaged_place(
    damage: DamagedBlockError,
    entries: Sequence[Shard],
    first_rows: np.ndarray,
    columns: Mapping[str, Placed],
) -> str:
    """Name the file, the bytes, the fields and the rows that a damaged block holds.

    Args:
      damage: which block.
      entries: what the manifest says of each shard.
      first_rows: int64, the number of each shard's first row.
      columns: by field name.
    """
    entry = entries[damage.shard]
    holds: list[str] = []
    for name, column in columns.items():
        span = column.rows_at(damage.shard, damage.begin, damage.end, entry.rows)
        if span:
            holds.append(f"rows {span[0]} to {span[1]} of field '{name}'")
    what = ", ".join(holds) or "the description of the file"
    return (
        f"{entry.file} is damaged: its bytes {damage.begin} to {damage.end - 1} are not those "
        f"that were written; they hold {what} (the shard's rows; its first is row "
        f"{int(first_rows[damage.shard])} of the set)"
    )

"""Showing records: their schema, shards, what is kept beside them, and the first rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dovetail.cli.show import number, plural, say, shape, size, table, to_json
from dovetail.data.records import Records

FIRST_ROWS = 5
_WHOLE_VALUES = 8  # arrays of at most so many values are shown as they are


def describe(path: Path) -> dict[str, Any]:
    """Return what records hold, as plain values.

    Raises:
      DataError: the records are not whole, or the first rows are damaged.
    """
    records = Records(path)
    first = records.gather(list(range(min(FIRST_ROWS, len(records)))))
    rows = min(FIRST_ROWS, len(records))
    return {
        "rows": len(records),
        "bytes": records.manifest.bytes,
        "schema": records.schema.to_list(),
        "shards": [
            {"file": s.file, "rows": s.rows, "bytes": s.bytes} for s in records.manifest.shards
        ],
        "metadata": records.metadata,
        "fingerprint": records.fingerprint,
        "first_rows": [
            {name: shown_value(column[row]) for name, column in first.items()}
            for row in range(rows)
        ],
    }


def show(path: Path, described: dict[str, Any]) -> None:
    """Print what `describe` returned."""
    say(f"{path}: {plural(described['rows'], 'record')}, {size(described['bytes'])}")
    say()
    fields = [(f["name"], f["dtype"], shape(f["shape"])) for f in described["schema"]]
    table(("field", "dtype", "shape"), fields)
    say()
    shards = [(s["file"], f"{s['rows']:,}", size(s["bytes"])) for s in described["shards"]]
    table(("shard", "rows", "size"), shards, right=["rows", "size"])
    for name, value in described["metadata"].items():
        say(f" {name}: {to_json(value)}")
    say()
    names = [f["name"] for f in described["schema"]]
    rows = [(i, *(row[n] for n in names)) for i, row in enumerate(described["first_rows"])]
    table(("row", *names), rows, right=["row"])


def shown_value(value: Any) -> Any:
    """Return a field's value: small ones as they are, large ones by shape and range."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str):
        return value if len(value) <= 60 else f"{value[:57]}..."
    array = np.asarray(value)
    if array.size <= _WHOLE_VALUES:
        return (
            array.tolist() if array.dtype != object else [shown_value(item) for item in array.flat]
        )
    if array.dtype == object:
        return f"{shape(array.shape)} of text"
    low, high = array.min().item(), array.max().item()
    return f"{array.dtype} {shape(array.shape)} from {number(low)} to {number(high)}"

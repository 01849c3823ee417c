"""Writing the parts of divided records as records of their own, all of them or none."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.data.aside import Aside
from dovetail.data.record_writer import RecordWriter
from dovetail.errors import DataError

if TYPE_CHECKING:
    from dovetail.data.records import Records

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_HELD_BYTES = 16 << 20  # of rows at once


def write_split(
    records: Records,
    output: str | os.PathLike[str],
    fractions: Mapping[str, float],
    *,
    by: str | None = None,
    seed: int = 0,
) -> dict[str, Path]:
    """Divide records as `Records.split_by_hash` does, and write each part as records.

    A part has schema, metadata and compression of the whole, its rows in their order, and in its
    metadata a `split` that says what it is a part of. The folder appears when all is whole.

    Args:
      records: what to divide; it is not changed.
      output: a folder to make, with a folder of each part's name in it.
      fractions: name -> share of the keys; together at most 1.
      by: the field that is the key; None: the row's place, which stays when rows are added.
      seed: which division.

    Returns:
      name -> folder of the part.

    Raises:
      DataError: as `Records.split_by_hash`; a name is none for a folder; the output is there
        already, or being written.

    >>> import tempfile
    >>> from dovetail import Field, Records, Schema
    >>> place = Path(tempfile.mkdtemp())
    >>> with RecordWriter(place / "all", Schema([Field("x", (), "int64")])) as writer:
    ...     for number in range(100):
    ...         writer.append((number,))
    >>> parts = write_split(Records(place / "all"), place / "parts", {"train": 0.8, "test": 0.2})
    >>> [(name, len(Records(path))) for name, path in parts.items()]
    [('train', 82), ('test', 18)]
    """
    for name in fractions:
        if not _NAME.fullmatch(name):
            raise DataError(
                f"A part's name is that of a folder: letters, digits, '_' and '-'; got {name!r}."
            )
    parts = records.split_by_hash(by, fractions, seed)
    whole = Path(os.path.realpath(output))
    aside = Aside(whole)
    try:
        for name, part in parts.items():
            made = {"part": name, "of": records.fingerprint, "by": by, "seed": seed}
            kept = {**records.metadata, "split": {**made, "into": dict(fractions)}}
            with RecordWriter(
                aside.records / name,
                records.schema,
                metadata=kept,
                compression=records.manifest.compression,
            ) as writer:
                for row in _rows(part):
                    writer.append(row)
        aside.put_in_place()
    except BaseException:
        aside.give_up()
        raise
    return {name: Path(output) / name for name in parts}


def _rows(part: Records) -> Iterator[dict[str, Any]]:
    count = max(_HELD_BYTES // max(part.row_bytes, 1), 1)
    for start in range(0, len(part), count):
        columns = part.gather(np.arange(start, min(start + count, len(part))))
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

"""What the values of a record set look like: ranges, means, counts of classes, lengths."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.data.schema import Field

if TYPE_CHECKING:
    from dovetail.data.records import Records

_CHUNK_BYTES = 2 << 20
_MOST_CLASSES = 1000


@dataclass(frozen=True)
class Lengths:
    """How long rows are: characters of a text, bytes, or values of a ragged field.

    Attributes:
      least, most, mean: over all rows.
    """

    least: int
    most: int
    mean: float


@dataclass(frozen=True)
class FieldStats:
    """What one field's values look like.

    Attributes:
      field: which field.
      rows: how many rows were read.
      values: how many values they hold, 1024 for each image of 32 x 32.
      minimum, maximum, mean, std: of the values that are finite; None if there is none, or they
        are no numbers. The deviation divides by their count.
      nan, infinite: how many values are not finite.
      lengths: of rows that differ in length.
      classes: how often each value comes, where a row has one whole number or text, and there
        are at most 1000; most frequent first.
    """

    field: Field
    rows: int
    values: int
    minimum: int | float | None = None
    maximum: int | float | None = None
    mean: float | None = None
    std: float | None = None
    nan: int = 0
    infinite: int = 0
    lengths: Lengths | None = None
    classes: dict[int | str, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give what is known as a plain dict that JSON can hold."""
        known: dict[str, Any] = {"name": self.field.name, "dtype": self.field.dtype}
        known["shape"] = list(self.field.shape)
        known |= {"rows": self.rows, "values": self.values}
        if self.field.is_numeric:
            for name in ("minimum", "maximum", "mean", "std", "nan", "infinite"):
                known[name] = getattr(self, name)
            for name in ("mean", "std"):  # too large for a float: JSON has no infinity
                if known[name] is not None and not math.isfinite(known[name]):
                    known[name] = None
        if self.lengths is not None:
            known["lengths"] = vars(self.lengths)
        if self.classes is not None:
            # A list, as JSON's keys are text only.
            known["classes"] = [[value, count] for value, count in self.classes.items()]
        return known


def stats(records: Records) -> dict[str, FieldStats]:
    """Read all rows once, in their stored order, and describe each field's values.

    Memory stays bounded: a few megabytes of rows at a time, and at most 1000 classes a field.
    Mean and deviation are merged from chunk to chunk (Chan, Golub and LeVeque, 1979).

    Args:
      records: what to read; a view is read alone.

    Returns:
      field name -> what its values look like.

    Raises:
      DataError: if damage is met; shard and rows are named.

    >>> import tempfile
    >>> from dovetail.data.record_writer import RecordWriter
    >>> from dovetail.data.records import Records
    >>> from dovetail.data.schema import Field, Schema
    >>> place = tempfile.mkdtemp() + "/records"
    >>> with RecordWriter(place, Schema([Field("x", (), "float32")])) as writer:
    ...     for number in [1.0, 2.0, 6.0]:
    ...         writer.append((number,))
    >>> found = stats(Records(place))["x"]
    >>> found.minimum, found.maximum, found.mean
    (1.0, 6.0, 3.0)
    """
    tallies = [_Tally(field) for field in records.schema.fields]
    row_bytes = max(records.manifest.bytes // max(records.manifest.rows, 1), 1)
    step = max(_CHUNK_BYTES // row_bytes, 1)
    for start in range(0, len(records), step):
        rows = np.arange(start, min(start + 2 * step, len(records)))
        records.will_need(rows)  # these and the next
        chunk = records.gather(rows[:step])
        for tally in tallies:
            tally.add(chunk[tally.field.name])
    return {tally.field.name: tally.result() for tally in tallies}


class _Tally:
    """What is known of one field after some of its rows."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.rows = self.values = self.finite = self.nan = self.infinite = 0
        self.minimum: int | float | None = None
        self.maximum: int | float | None = None
        self.mean = self.squares = 0.0  # squares: the sum of squared distances from the mean
        self.least, self.most, self.total = math.inf, 0, 0
        self.varies = field.kind != "fixed"
        one = field.shape in ((), (1,)) and field.dtype != "bytes" and "float" not in field.dtype
        self.classes: Counter[int | str] | None = Counter() if one else None

    def add(self, column: np.ndarray | list[Any]) -> None:
        self.rows += len(column)
        if self.varies:
            scalar = self.field.shape == ()
            lengths = [len(row) if scalar else row.size for row in column]
            self.values += len(column) if scalar else sum(lengths)
            self.least = min(self.least, *lengths)
            self.most = max(self.most, *lengths)
            self.total += sum(lengths)
        if not self.field.is_numeric:
            if self.classes is not None:
                self._count(Counter(row if isinstance(row, str) else row[0] for row in column))
            return
        flat = np.concatenate([row.ravel() for row in column]) if self.varies else np.ravel(column)
        if not self.varies:
            self.values += flat.size
        if self.classes is not None:
            self._count(dict(zip(*map(np.ndarray.tolist, _unique(flat)), strict=True)))
        self._merge(flat)

    def _count(self, found: dict[Any, int]) -> None:
        assert self.classes is not None
        self.classes.update(found)
        if len(self.classes) > _MOST_CLASSES:
            self.classes = None

    def _merge(self, flat: np.ndarray) -> None:
        if flat.dtype.kind == "f":
            fine = np.isfinite(flat)
            nan = int(np.count_nonzero(np.isnan(flat)))
            self.nan += nan
            self.infinite += int(flat.size - np.count_nonzero(fine)) - nan
            flat = flat[fine]
        if not flat.size:
            return
        low, high = flat.min().item(), flat.max().item()
        self.minimum = low if self.minimum is None else min(self.minimum, low)
        self.maximum = high if self.maximum is None else max(self.maximum, high)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(flat.mean(dtype=np.float64))
            squares = float(np.square(flat - np.float64(mean)).sum())
            distance = np.float64(mean) - self.mean
            count = self.finite + flat.size
            self.squares += squares + float(distance**2 * self.finite * flat.size / count)
            self.mean += float(distance * (flat.size / count))
            self.finite = count

    def result(self) -> FieldStats:
        classes = None
        if self.classes is not None and self.rows:
            classes = dict(self.classes.most_common())
        lengths = None
        if self.varies and self.rows:
            lengths = Lengths(int(self.least), self.most, self.total / self.rows)
        return FieldStats(
            self.field,
            self.rows,
            self.values,
            self.minimum,
            self.maximum,
            self.mean if self.finite else None,
            math.sqrt(self.squares / self.finite) if self.finite else None,
            self.nan,
            self.infinite,
            lengths,
            classes,
        )


def _unique(flat: np.ndarray) -> Iterable[np.ndarray]:
    return np.unique(flat, return_counts=True)

"""Reading records: a set of memory-mapped Arrow files, from which batches are gathered."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dovetail.data.columns import Column, FixedColumn, VaryingColumn
from dovetail.data.compressed import CompressedRows
from dovetail.data.damage import Placed, damaged_place
from dovetail.data.manifest import CURE, Manifest, read_manifest
from dovetail.data.order import batch_indices
from dovetail.data.rows import Rows
from dovetail.data.schema import Schema
from dovetail.data.shards import DamagedBlockError, Shards
from dovetail.data.splits import split, split_by_hash
from dovetail.data.stats import FieldStats, stats
from dovetail.errors import DataError, nearest

Indices = np.ndarray | Sequence[int]


class Records:
    """A set of records on disk, or some of its rows.

    Args:
      path: the folder that `dovetail prepare` (or `RecordWriter`) wrote.

    Raises:
      DataError: if the folder is no whole record set, or a shard is missing, cut short or damaged
        where that can be seen without reading it all. The rest is checked, block by block, when
        it is first read in each process; see `verify` to check all of it at once.

    Attributes:
      path: the folder, absolute.
      manifest: what the folder holds.

    >>> import tempfile
    >>> from dovetail.data.record_writer import RecordWriter
    >>> from dovetail.data.schema import Field
    >>> place = Path(tempfile.mkdtemp()) / "records"
    >>> with RecordWriter(place, Schema([Field("x", (), "int64")])) as writer:
    ...     for number in range(10):
    ...         writer.append({"x": number * number})
    >>> Records(place).gather([3, 1])["x"]
    array([9, 1])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.abspath(path))
        self.manifest: Manifest = read_manifest(self.path)
        entries = self.manifest.shards
        ends = np.cumsum([entry.rows for entry in entries], dtype=np.int64)
        self._shard_ends = ends
        self._first_rows = ends - np.array([entry.rows for entry in entries], np.int64)
        self._selected: np.ndarray | None = None  # of a view: its rows' numbers in the whole set
        self._length = self.manifest.rows
        self._shards = Shards(self.path, entries)
        self._columns: dict[str, FixedColumn | VaryingColumn] = {}
        self._compressed: CompressedRows | None = None
        if self.manifest.compression is not None:
            self._compressed = CompressedRows(self.schema, self._shards, entries)
        else:
            for field in self.schema.fields:
                kind = FixedColumn if field.kind == "fixed" else VaryingColumn
                self._columns[field.name] = kind(field, self._shards, entries, self._first_rows)
        try:
            self._shards.touch_bounds()
        except DamagedBlockError as damage:
            raise self._damage(damage) from None

    @property
    def schema(self) -> Schema:
        """The fields of every row."""
        return self.manifest.schema

    @property
    def metadata(self) -> dict[str, Any]:
        """What was kept beside the rows, such as {"classes": [...]}; a copy."""
        return copy.deepcopy(dict(self.manifest.metadata))

    @property
    def fingerprint(self) -> str:
        """SHA-256, hexadecimal, of the manifest, and of which rows these are, if not all."""
        if self._selected is None:
            return self.manifest.fingerprint
        rows = self._selected.astype("<i8").tobytes()
        return hashlib.sha256(bytes.fromhex(self.manifest.fingerprint) + rows).hexdigest()

    @property
    def numbers(self) -> np.ndarray:
        """The place of each row in the whole set, int64 [len]."""
        return np.arange(self._length) if self._selected is None else self._selected

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"Records({str(self.path)!r}: {self._length} rows; {self.schema})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (str(self.path), self._selected)

    def gather(self, indices: Indices, fields: Sequence[str] | None = None) -> dict[str, Column]:
        """Copy some rows out of the shards, in the order asked for.

        Args:
          indices: int [n], each from 0 to len - 1; a row may be asked for more than once.
          fields: names of the fields to read; None: all.

        Returns:
          for each field an array [n, *shape], or, where rows differ in length, a list of n
          arrays (text and bytes of shape []: of str or bytes). They are fresh copies.

        Raises:
          IndexError: if a row does not exist.
          DataError: if the bytes of a row asked for are damaged, or there is no such field.
        """
        names = self.schema if fields is None else self._known(fields)
        rows = np.ascontiguousarray(indices, dtype=np.int64)
        if rows.size == 0:
            return self._nothing(names)
        # Seen as unsigned, a negative number is a huge one: one comparison for both bounds.
        if rows.ndim != 1 or rows.view(np.uint64).max() >= self._length:
            raise IndexError(
                f"rows must be a list of numbers from 0 to {self._length - 1}; got {indices!r}"
            )
        if self._selected is not None:
            rows = self._selected[rows]
        shard: np.ndarray | int = 0
        if len(self._shard_ends) > 1 and self._compressed is None:
            shard = np.searchsorted(self._shard_ends, rows, "right")
        try:
            if self._compressed is not None:
                return self._compressed.gather(rows, list(names))
            return {name: self._columns[name].gather(rows, shard) for name in names}
        except DamagedBlockError as damage:
            raise self._damage(damage) from None

    def examples(self, seed: int, start: int, count: int, shuffle: bool = True) -> np.ndarray:
        """Give the rows at some positions of a run, int64 [count]; see `order.batch_indices`.

        Args:
          seed: which orders.
          start: the first position, in examples since the run's beginning.
          count: how many positions.
          shuffle: whether each epoch has an order of its own.
        """
        return batch_indices(seed, self._length, start, count, shuffle)

    def will_need(self, indices: Indices) -> None:
        """Have rows read from disk that are needed soon, without waiting for them.

        Nothing is done where all was read in this process and fits in memory.

        Args:
          indices: int [n], rows of these records.
        """
        rows = np.asarray(indices, np.int64)
        if not self._shards.reads_ahead or not len(rows):
            return
        if self._selected is not None:
            rows = self._selected[rows]
        if self._compressed is not None:
            self._shards.will_need(*self._compressed.spans(rows))
            return
        shard = np.searchsorted(self._shard_ends, rows, "right")
        for column in self._columns.values():
            # Damage to offsets is for `gather` to report, if these rows are ever asked for.
            with contextlib.suppress(DamagedBlockError):
                self._shards.will_need(*column.spans(rows, shard))

    @property
    def row_bytes(self) -> int:
        """About how many bytes of a file one row takes."""
        return -(-self.manifest.bytes // max(self.manifest.rows, 1))

    def epochs(self, seed: int, start: int, count: int, shuffle: bool = True) -> np.ndarray:
        """Say in which epoch the examples at some positions of a run are: int64 [count]."""
        return np.arange(start, start + count, dtype=np.int64) // max(self._length, 1)

    def rows(self, indices: Indices, *, seed: int = 0, epoch: int | np.ndarray = 0) -> Rows:
        """Copy some rows out, as `input_fn(records)` takes them.

        Args:
          indices: as for `gather`.
          seed, epoch: of the run that they are for, for the random numbers of each; the epoch is
            one number, or one for each row.
        """
        columns = self.gather(indices)
        numbers = np.asarray(indices, np.int64)
        if self._selected is not None:
            numbers = self._selected[numbers]
        return Rows(
            columns,
            schema=self.schema,
            where=lambda row: f"{self.path / self.where(int(indices[row]))}",
            numbers=numbers,
            seed=seed,
            epoch=epoch,
        )

    def head(self, count: int = 5) -> Rows:
        """Copy the first rows out, at most `count` of them."""
        return self.rows(np.arange(min(max(count, 0), self._length)))

    def select(self, indices: Indices) -> Records:
        """Give a view that has only some rows, in the order given; it shares the mapping.

        Args:
          indices: int [n], rows of these records.
        """
        rows = np.array(indices, dtype=np.int64).reshape(-1)
        if len(rows) and rows.view(np.uint64).max() >= self._length:
            raise IndexError(f"rows must be numbers from 0 to {self._length - 1}")
        view = Records.__new__(Records)  # copy.copy would go by __reduce__, and open the set again
        view.__dict__.update(self.__dict__)
        view._selected = rows if self._selected is None else self._selected[rows]
        view._selected.flags.writeable = False
        view._length = len(rows)
        return view

    def split(self, fractions: Mapping[str, float], seed: int = 0) -> dict[str, Records]:
        """Divide the rows at random into named views, no row in two of them.

        Args:
          fractions: name -> share of the rows; together at most 1.
          seed: which division; the same seed and number of rows divide alike always.

        Returns:
          name -> view, its rows in the order in which they are stored.

        Raises:
          DataError: if a share is not above 0, or they sum to more than 1.
        """
        return split(self, fractions, seed)

    def split_by_hash(
        self, field: str | None, fractions: Mapping[str, float], seed: int = 0
    ) -> dict[str, Records]:
        """Divide the rows into named views by a hash of a field's value, such as a file's name.

        A row's part depends on that value alone: rows of one value stay together, and all stay
        where they are when others are appended. The shares hold approximately.

        Args:
          field: which field is the key. None: the row's place in the whole set, which is its own
            as long as rows are only added.
          fractions: name -> share of the keys; together at most 1.
          seed: which division.

        Returns:
          name -> view, its rows in the order in which they are stored.

        Raises:
          DataError: as `split`, or if there is no such field.
        """
        return split_by_hash(self, field, fractions, seed)

    def stats(self) -> dict[str, FieldStats]:
        """Read all rows once and say what each field's values look like; see stats.py."""
        return stats(self)

    def where(self, index: int) -> str:
        """Say where a row is stored: the shard's file, and the row in it.

        Args:
          index: a row of these records.
        """
        row = int(index) if self._selected is None else int(self._selected[index])
        shard = int(np.searchsorted(self._shard_ends, row, "right"))
        within = row - int(self._first_rows[shard])
        return f"{self.manifest.shards[shard].file} row {within}"

    def require(self, schema: Schema, where: str) -> None:
        """Refuse to go on if these records are not of a schema.

        Args:
          schema: what is expected.
          where: what expects it, such as the model file, for the message.

        Raises:
          DataError: naming each field that differs.
        """
        lines = schema.differences(self.schema)
        if lines:
            listed = "\n".join(f"  {line}" for line in lines)
            raise DataError(
                f"The records at {self.path} are not of the schema of {where} (here: {where}; "
                f"there: the records):\n{listed}\nChange the schema, or prepare the records anew."
            )

    def verify(self) -> None:
        """Read every byte of every shard and compare it with the manifest's checksums.

        Raises:
          DataError: naming each damaged place.
        """
        found = self._shards.damaged()
        if found:
            places = "\n".join(f"  {self._place(damage)}" for damage in found[:20])
            more = f"\n  and {len(found) - 20} more" if len(found) > 20 else ""
            raise DataError(f"{self.path} is damaged:\n{places}{more}\n{CURE}")

    def _known(self, fields: Sequence[str]) -> Sequence[str]:
        for name in fields:
            if name not in self.schema:
                raise DataError(
                    f"{self.path} has no field '{name}'; its fields are {list(self.schema)}."
                    f"{nearest(name, self.schema)}"
                )
        return fields

    def _nothing(self, names: Iterable[str]) -> dict[str, Column]:
        example = self.schema.example(0)
        fixed = {name: self.schema[name].kind == "fixed" for name in names}
        return {name: example[name] if is_fixed else [] for name, is_fixed in fixed.items()}

    def _damage(self, damage: DamagedBlockError) -> DataError:
        return DataError(f"{self.path / self._place(damage)}. Nothing of them was used. {CURE}")

    def _place(self, damage: DamagedBlockError) -> str:
        columns: Mapping[str, Placed] = self._columns
        if self._compressed is not None:
            columns = dict.fromkeys(self.schema, self._compressed)
        return damaged_place(damage, self.manifest.shards, self._first_rows, columns)


def _opened(path: str, selected: np.ndarray | None) -> Records:
    records = Records(path)
    return records if selected is None else records.select(selected)

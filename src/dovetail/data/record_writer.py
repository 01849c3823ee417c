"""Writing records: rows into shards, aside; then the manifest, last; then one rename."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from dovetail.data.addition import Addition, content_identity
from dovetail.data.aside import Aside
from dovetail.data.layout import row_bytes
from dovetail.data.manifest import Added, Manifest, Shard, write_manifest
from dovetail.data.schema import Schema, Value
from dovetail.data.shard_file import CODECS, write_shard
from dovetail.data.stored_rows import stored_rows
from dovetail.errors import DataError, nearest


class RecordWriter:
    """Write a record set; the folder appears whole, when it is closed, or not at all.

    The files' bytes are a function of schema, rows, metadata, shard size and compression alone.

    Args:
      directory: the folder to make; absent, or empty. With `append`, a record set.
      schema: the fields of every row.
      metadata: what to keep beside the rows, as JSON can hold it; `writer.metadata` may be added
        to until the writer is closed.
      shard_bytes: about how large a shard's file grows before the next begins.
      compression: "lz4" or "zstd" stores blocks of rows compressed, which any Arrow tool reads too.
        A batch of random rows then costs the decompression of a block for each row, so it is for
        disks too small or slow, not for speed. None: as they are, which is the quick way.
      append: add rows to the set that is there, in shards of their own. It must have the schema
        and, if one is given, the compression; the metadata may only say more than before. The
        manifest keeps what was added, so that a script that is run again, as after a kill, adds
        its rows once: the same rows again are left out, with a warning.
      addition: a name for these rows, by which they are known instead: an addition of a name that
        is there is left out without a word, and the same rows are added again under another.
      aside: the folder to write in until all is whole; None takes one for this directory.

    Attributes:
      rows: how many there are, with those of a set that is added to.
      added_before: an addition of this name is in the set: rows appended are not taken.
      pending: those that are in no shard yet, as `Schema.convert` gives them.
      on_shard: called with each shard once it is durable.

    Raises:
      DataError: if the folder holds something, is being written by another process, or can't be
        written.

    >>> import tempfile
    >>> from dovetail.data.records import Records
    >>> from dovetail.data.schema import Field
    >>> place = Path(tempfile.mkdtemp()) / "records"
    >>> with RecordWriter(place, Schema([Field("x", (2,), "int64")])) as writer:
    ...     writer.append({"x": [1, 2]})
    >>> Records(place).gather([0])["x"]
    array([[1, 2]])
    """

    def __init__(
        self,
        directory: str | Path,
        schema: Schema,
        *,
        metadata: Mapping[str, Any] | None = None,
        shard_bytes: int = 64 << 20,
        compression: str | None = None,
        append: bool = False,
        addition: str | None = None,
        aside: Aside | Addition | None = None,
    ) -> None:
        self.directory = Path(os.path.abspath(directory))
        self.schema = schema
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.rows = 0
        self.pending: list[dict[str, Value]] = []
        self.on_shard: Callable[[Shard], None] | None = None
        self._shard_bytes = shard_bytes
        if compression is not None and compression not in CODECS:
            raise DataError(
                f"compression must be None or one of {', '.join(CODECS)}; got {compression!r}."
                f"{nearest(str(compression), CODECS)}"
            )
        self.compression = compression
        self._shards: list[Shard] = []
        self._pending_bytes = 0
        self.added_before = False
        self._there: Manifest | None = None  # of the set that is added to
        if addition is not None and (not append or not isinstance(addition, str) or not addition):
            raise DataError(
                "addition is a name for rows that are added to a set, such as '2026-06-01', with "
                f"append=True; got {addition!r}{'' if append else ', without append'}."
            )
        self._identity = None if addition is None else f"name:{addition}"
        # Files are known to `prepare` by themselves, so two may well have the same rows.
        self._same_rows_once = append and addition is None and aside is None
        self._aside: Aside | Addition
        if append:
            assert not isinstance(aside, Aside)
            self._aside = aside or Addition(self.directory)
            self._join(self._aside)
        else:
            self._aside = aside or Aside(self.directory)

    def append(self, row: tuple[Any, ...] | Mapping[str, Any], where: str | None = None) -> None:
        """Add one row, converted as `Schema.convert` does.

        Args:
          row: a tuple in the schema's order, or a dict by name.
          where: the file that the row is from, for messages.
        """
        if not self._aside.held:
            raise DataError(f"{self.directory}: the writer is closed; open another.")
        if self.added_before:
            return
        converted = self.schema.convert(row, where or f"row {self.rows}")
        size = row_bytes(converted)
        if self.pending and self._pending_bytes + size > self._shard_bytes:
            self._write_shard()
        self.pending.append(converted)
        self._pending_bytes += size
        self.rows += 1

    def resume(self, shards: Sequence[Shard], pending: Sequence[dict[str, Value]] = ()) -> None:
        """Begin with rows that an earlier writer with this schema and shard size got.

        Args:
          shards: finished ones, whose files are in place.
          pending: the rows after those of the shards, as its `pending` had them.
        """
        assert self.rows == (self._there.rows if self._there else 0)
        self._shards = [*(self._there.shards if self._there else ()), *shards]
        self.pending = list(pending)
        self._pending_bytes = sum(row_bytes(row) for row in self.pending)
        self.rows = sum(shard.rows for shard in self._shards) + len(self.pending)

    def rewind(self, rows: int, before: Callable[[int], None] | None = None) -> None:
        """Forget the rows after the first so many, as if they had never been appended.

        Args:
          rows: how many to keep.
          before: called with the number of shards kept, but for those of a set that is added to,
            before the files of others are removed.
        """
        first = sum(shard.rows for shard in self._shards)
        kept, gone = list(self._shards), []
        while first > rows:
            gone.append(kept.pop())
            first -= gone[-1].rows
        if gone:
            self.pending = stored_rows(self._aside.records / gone[-1].file, self.schema)
            self._shards = kept
            if before is not None:
                before(len(kept) - (len(self._there.shards) if self._there else 0))
            for shard in gone:
                (self._aside.records / shard.file).unlink()
        del self.pending[rows - first :]
        self._pending_bytes = sum(row_bytes(row) for row in self.pending)
        self.rows = rows

    def close(self) -> None:
        """Write what is left and the manifest, and put the folder in its place."""
        if not self._aside.held:
            return
        try:
            if self.pending:
                self._write_shard()
            additions, again = self._additions()
            manifest = Manifest(
                self.schema,
                tuple(self._shards),
                self.metadata,
                compression=self.compression,
                additions=additions,
            )
            write_manifest(self._aside.records, manifest)
            self._aside.put_in_place()
        except BaseException:
            self.abort()
            raise
        if again is not None:
            warnings.warn(
                f"The {again.rows:,} rows to add to {self.directory} are in it already, in shard "
                f"{again.shard} and those after it, so nothing was added. If they are to be there "
                "twice, give the addition a name: RecordWriter(..., addition=NAME).",
                stacklevel=2,
            )

    def abort(self) -> None:
        """Give up: remove what was written aside, unless its journal says that it can go on."""
        self._aside.give_up()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _join(self, addition: Addition) -> None:
        """Go on behind the rows that are there, if these are of their kind."""
        there = addition.manifest
        wrong = [f"schema: {line}" for line in self.schema.differences(there.schema)]
        if not wrong and self.schema != there.schema:
            wrong.append(f"schema: the fields' order is {list(there.schema)} there")
        if self.compression not in (None, there.compression):
            wrong.append(f"compression: {self.compression} here, {there.compression} there")
        for name in self.metadata.keys() & there.metadata.keys():
            if self.metadata[name] != there.metadata[name]:
                old, new = there.metadata[name], self.metadata[name]
                wrong.append(f"metadata '{name}': {new!r} here, {old!r} there")
        if wrong:
            addition.give_up()
            listed = "\n".join(f"  {line}" for line in wrong)
            raise DataError(
                f"These rows can't join those in {self.directory} (here: the rows to add; there: "
                f"the records):\n{listed}\nWrite them to a folder of their own."
            )
        self.compression = there.compression
        self.metadata = {**there.metadata, **self.metadata}
        self._shards = list(there.shards)
        self.rows = there.rows
        self._there = there
        self.added_before = any(added.identity == self._identity for added in there.additions)

    def _additions(self) -> tuple[tuple[Added, ...], Added | None]:
        """Give what was added to the set; and what of it these rows are, which are then dropped."""
        there = self._there
        if there is None:
            return (), None
        first = len(there.shards)
        new = self._shards[first:]
        if self.added_before or not (new or self._identity):
            return there.additions, None
        identity = self._identity or content_identity(self._aside.records, new)
        if self._same_rows_once:
            for added in there.additions:
                if added.identity == identity:
                    self.rewind(there.rows)
                    return there.additions, added
        return (*there.additions, Added(identity, first, self.rows - there.rows)), None

    def _write_shard(self) -> None:
        path = self._aside.records / f"shard-{len(self._shards):05d}.arrow"
        self._shards.append(write_shard(path, self.schema, self.pending, self.compression))
        self.pending = []
        self._pending_bytes = 0
        if self.on_shard is not None:
            self.on_shard(self._shards[-1])

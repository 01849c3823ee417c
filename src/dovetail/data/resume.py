"""What of a `prepare` is finished, kept in a journal so that the next run goes on from there.

The journal begins with the identity of the job. Each shard has an entry, once it is durable, with
the file and row that come after it, and a hash of the files up to there: later ones may change.
Rows that are in no shard yet are written out from time to time, so that slow reading loses seconds,
not a shard's worth; that file's entry says the same.
"""

from __future__ import annotations

import shutil
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dovetail.data.addition import Addition
from dovetail.data.aside import Aside
from dovetail.data.failures import Failure
from dovetail.data.manifest import (
    BLOCK_BYTES,
    Shard,
    shard_from_dict,
    shard_to_dict,
    sync_directory,
)
from dovetail.data.record_writer import RecordWriter, write_shard
from dovetail.data.stored_rows import stored_rows

_SECONDS = 5.0  # between two writings of the rows that are in no shard yet
_SHARE = 20  # ... or so many times what writing them takes, so that it stays a small part


class WorkLog:
    """Follows a writer, and takes up what an earlier one with the same job left.

    Args:
      aside: the folder that both wrote in.
      job: what the records are a function of, but for the files; see `job_identity`.
      chain: of the files; see `file_chain`.

    Attributes:
      folder: where all of it is.
      changed: what differs from an earlier run, whose work is therefore gone, or some of it.
      file: index of the file to read next.
      row: how many of its rows are in the writer.
      failures: index of a file -> why it gave no rows; every failed file before `file`.
    """

    def __init__(
        self, aside: Aside | Addition, job: Mapping[str, str], chain: Sequence[str]
    ) -> None:
        self.folder = aside.folder
        self._aside, self._journal = aside, aside.journal
        self._chain = chain
        self.changed: list[str] = []
        self.file = self.row = 0
        self.failures: dict[int, Failure] = {}
        self._shards: list[Shard] = []
        self._unfinished: Shard | None = None
        self._next_save = time.monotonic() + _SECONDS
        entries = self._journal.entries
        before = entries[0].get("job", {}) if entries else {}
        if before == dict(job):
            self._take_up()
        else:
            if len(entries) > 1:
                self.changed = [part for part in job if before.get(part) != job[part]]
            self._journal.clear()
        self._clear_away()
        if not self._journal.entries:
            self._journal.append({"job": dict(job)})

    def follow(self, writer: RecordWriter) -> None:
        """Give a fresh writer the rows that are finished, and follow it from here on."""
        pending = []
        if self._unfinished is not None:
            pending = stored_rows(self.folder / self._unfinished.file, writer.schema)
        writer.resume(self._shards, pending)
        writer.on_shard = self._shard_done

    def save(self, writer: RecordWriter) -> None:
        """Write out the rows that are in no shard yet, where it is time to."""
        began = time.monotonic()
        if began < self._next_save or not writer.pending:
            return
        file = f"unfinished-{len(self._journal.entries)}.arrow"
        written = write_shard(self.folder / file, writer.schema, writer.pending)
        sync_directory(self.folder)
        self._note({"unfinished": shard_to_dict(written), "after": len(self._shards)})
        self._drop_unfinished()
        self._unfinished = written
        now = time.monotonic()
        self._next_save = now + max(_SECONDS, _SHARE * (now - began))

    def rewind(self, writer: RecordWriter, rows: int) -> None:
        """Have the writer forget the rows after the first so many."""
        writer.rewind(rows, self._shards_gone)

    def _shard_done(self, shard: Shard) -> None:
        sync_directory(self._aside.records)
        self._shards.append(shard)
        self._note({"shard": shard_to_dict(shard)})
        self._drop_unfinished()
        self._next_save = time.monotonic() + _SECONDS

    def _shards_gone(self, kept: int) -> None:
        self._journal.append({"shards_kept": kept})
        del self._shards[kept:]

    def _note(self, entry: dict[str, Any]) -> None:
        failed = [[index, *failure] for index, failure in self.failures.items()]
        at = {"next": [self.file, self.row], "files": self._files(self.file, self.row)}
        self._journal.append({**entry, **at, "failed": failed})

    def _files(self, file: int, row: int) -> str | None:
        """A hash of the files whose rows come before a place; None if there are not so many."""
        count = file + (row > 0)
        return self._chain[count] if count < len(self._chain) else None

    def _drop_unfinished(self) -> None:
        if self._unfinished is not None:
            (self.folder / self._unfinished.file).unlink()
            self._unfinished = None

    def _take_up(self) -> None:
        """Find how far the journal's entries lead, as far as the files are what they say."""
        done: list[Mapping[str, Any]] = []
        unfinished: Mapping[str, Any] | None = None
        for entry in self._journal.entries[1:]:
            if "shard" in entry:
                done.append(entry)
            elif "unfinished" in entry:
                unfinished = entry
            else:
                del done[entry["shards_kept"] :]
                unfinished = None
        last: Mapping[str, Any] | None = None
        for entry in done:
            shard = shard_from_dict(entry["shard"])
            same = entry["files"] == self._files(*entry["next"])
            if not same:
                self.changed = ["files"]
            if not same or not _is_whole(self._aside.records / shard.file, shard):
                self._journal.append({"shards_kept": len(self._shards)})
                break
            self._shards.append(shard)
            last = entry
        if unfinished is not None and unfinished["after"] == len(self._shards):
            shard = shard_from_dict(unfinished["unfinished"])
            if unfinished["files"] != self._files(*unfinished["next"]):
                self.changed = ["files"]
            elif _is_whole(self.folder / shard.file, shard):
                self._unfinished, last = shard, unfinished
        if last is not None:
            self.file, self.row = last["next"]
            self.failures = {
                index: Failure(*failure) for index, *failure in last["failed"] if index < self.file
            }

    def _clear_away(self) -> None:
        """Remove what is not known to be finished."""
        known = {shard.file for shard in self._shards}
        for left in self._aside.records.iterdir():
            if left.name not in known:
                _remove(left)
        unfinished = self._unfinished.file if self._unfinished else None
        for left in self.folder.iterdir():
            if left not in (self._aside.records, self._journal.path) and left.name != unfinished:
                _remove(left)


def _is_whole(path: Path, shard: Shard) -> bool:
    """Whether a file's bytes are those that were written."""
    if not path.is_file() or path.stat().st_size != shard.bytes:
        return False
    with path.open("rb") as file:
        return all(zlib.crc32(file.read(BLOCK_BYTES)) == block for block in shard.blocks)


def _remove(left: Path) -> None:
    if left.is_dir():
        shutil.rmtree(left)
    else:
        left.unlink()

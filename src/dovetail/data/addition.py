"""Adding shards to a record set: beside it first, then into it, and the manifest last."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from dovetail.data.aside import Aside
from dovetail.data.journal import Journal
from dovetail.data.manifest import NAME, Shard, read_manifest, sync_directory

RECORDS = "the records"  # in a journal's job: the fingerprint of the set that its shards join
# What an addition puts into a set, but for the manifest; the number is that of its first shard.
_OURS = re.compile(r"(?:shard-([0-9]{5,})\.arrow|(?:sources|failed)-([0-9]{5,})\.jsonl)")


class Addition:
    """Where shards that are to join a record set are written; used as `Aside` is.

    The shards that are there are not touched. Whoever opens the set sees the old manifest, and
    with it the old rows, until the new one takes its place in one rename; a reader that is open
    goes on with the old. A kill in between leaves files that no manifest lists, which nobody
    reads. The next addition takes them back, and goes on from them or removes them.

    Args:
      directory: of the record set.
      resume: keep what an earlier addition left, for the journal's reader to judge; otherwise it
        goes.

    Raises:
      DataError: if it is no whole record set, or is being written by another process.

    Attributes:
      manifest: of the set as it is.
      folder: the hidden folder, beside the set, in which all of it is written.
      records: the folder in it to write in.
      journal: of what is finished there.
    """

    def __init__(self, directory: Path, *, resume: bool = False) -> None:
        read_manifest(directory)  # refused before anything is made
        # A link to a set: the lock, and the folder to rename from, are beside what it leads to.
        self._directory = Path(os.path.realpath(directory))
        self._aside = Aside(self._directory, replace=True, resume=resume)
        self.folder, self.records = self._aside.folder, self._aside.records
        self.journal: Journal = self._aside.journal
        try:
            self.manifest = read_manifest(self._directory)
            entries = self.journal.entries
            job = entries[0].get("job", {}) if entries else {}
            if job.get(RECORDS, self.manifest.fingerprint) != self.manifest.fingerprint:
                self.journal.clear()  # of an addition that is in the set, or was to join another
            self._take_back(keep=resume)
        except BaseException:
            self._aside.give_up()
            raise

    @property
    def held(self) -> bool:
        """Whether the set is still this process's to add to."""
        return self._aside.held

    def put_in_place(self) -> None:
        """Move the shards, which are durable, into the set, and then its new manifest."""
        for file in sorted(self.records.iterdir()):
            if file.name != NAME:
                os.rename(file, self._directory / file.name)
        sync_directory(self._directory)
        os.replace(self.records / NAME, self._directory / NAME)
        sync_directory(self._directory)
        self.journal.clear()
        self._aside.give_up()

    def give_up(self) -> bool:
        """Leave the set as it is; say whether what is finished stays beside it."""
        return self._aside.give_up()

    def _take_back(self, *, keep: bool) -> None:
        """Take files out of the set that were moved there, but never listed by its manifest."""
        for file in sorted(self._directory.iterdir()):
            found = _OURS.fullmatch(file.name)
            if not found or int(found[1] or found[2]) < len(self.manifest.shards):
                continue
            if keep:
                os.replace(file, self.records / file.name)
            else:
                file.unlink()


def content_identity(folder: Path, shards: Iterable[Shard]) -> str:
    """Give a hash of the bytes of some shards: the same rows, written alike, are the same.

    Args:
      folder: where their files are.
      shards: in order.
    """
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(shard.bytes.to_bytes(8, "big"))
        with (folder / shard.file).open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    return f"sha256:{digest.hexdigest()}"

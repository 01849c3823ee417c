"""Adding shards to a record set: beside it first, then into it, and the manifest last."""

from __future__ import annotations

import os
from pathlib import Path

from dovetail.data.aside import Aside
from dovetail.data.manifest import NAME, read_manifest, sync_directory


class Addition:
    """Where shards that are to join a record set are written; used as `Aside` is.

    The shards that are there are not touched. Whoever opens the set sees the old manifest, and
    with it the old rows, until the new one takes its place in one rename; a reader that is open
    goes on with the old. A kill in between leaves files that no manifest lists, which nobody
    reads, and which the next addition writes over.

    Args:
      directory: of the record set.

    Raises:
      DataError: if it is no whole record set, or is being written by another process.

    Attributes:
      manifest: of the set as it is.
      records: the folder to write in.
    """

    def __init__(self, directory: Path) -> None:
        read_manifest(directory)  # refused before anything is made
        self._aside = Aside(directory, replace=True)
        self.records = self._aside.records
        self._directory = directory
        try:
            self.manifest = read_manifest(directory)
        except BaseException:
            self._aside.give_up()
            raise

    @property
    def held(self) -> bool:
        """Whether the set is still this process's to add to."""
        return self._aside.held

    def put_in_place(self) -> None:
        """Move the shards, which are durable, into the set, and then its new manifest."""
        for file in sorted(self.records.glob("*.arrow")):
            os.rename(file, self._directory / file.name)
        sync_directory(self._directory)
        os.replace(self.records / NAME, self._directory / NAME)
        sync_directory(self._directory)
        self._aside.give_up()

    def give_up(self) -> None:
        """Leave the set as it is."""
        self._aside.give_up()

"""Locks by name that threads, and worker processes too, hold one at a time."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from collections.abc import Mapping
from typing import Any


class SharedFile:
    """A nameless file, open in several processes; closed when nobody here has it any more.

    Args:
      descriptor: of it, which is this object's from now on; None: a new one is made.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            with tempfile.TemporaryFile() as made:
                descriptor = os.dup(made.fileno())
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Give its descriptor."""
        return self._descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)


class NamedLock:
    """A lock of one name; who holds it may take it again.

    It is released on every way out of a `with` block, and, between processes, by the death of
    the one that held it.

    Args:
      number: of the lock among those of a pipeline.
      file: which the processes share, and of which the lock is the byte of that number; None:
        there is one process only.
    """

    def __init__(self, number: int, file: SharedFile | None = None) -> None:
        self.number, self.file = number, file
        self._threads = threading.RLock()
        self._held = 0
        self._taken: SharedFile | None = None

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            if not self._held and self.file is not None:
                fcntl.lockf(self.file, fcntl.LOCK_EX, 1, self.number)
                self._taken = self.file
            self._held += 1
        except BaseException:
            self._threads.release()
            raise

    def __exit__(self, *_: Any) -> None:
        try:
            self._held -= 1
            if not self._held and self._taken is not None:
                file, self._taken = self._taken, None
                fcntl.lockf(file, fcntl.LOCK_UN, 1, self.number)
        finally:
            self._threads.release()


class Locks:
    """The locks of one pipeline, each made when it is first asked for.

    >>> with Locks().get("disk"):
    ...     pass
    """

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._named: dict[str, NamedLock] = {}
        self._file: SharedFile | None = None

    def get(self, name: str) -> NamedLock:
        """Give the lock of a name."""
        found = self._named.get(name)
        if found is None:
            with self._making:
                found = self._named.setdefault(name, NamedLock(len(self._named), self._file))
        return found

    def share(self, names: list[str]) -> tuple[SharedFile, Mapping[str, int]]:
        """Make the locks such that other processes may take part.

        Args:
          names: of those that the others need.

        Returns:
          the file to send them, and the number of each lock.
        """
        for name in names:
            self.get(name)
        with self._making:
            if self._file is None:
                self._file = SharedFile()
                for lock in self._named.values():
                    lock.file = self._file
            return self._file, {name: self._named[name].number for name in names}

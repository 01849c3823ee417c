"""The hidden folder beside an output in which it is written: locked, and put in place when whole.

    .NAME.partial/records   what will be NAME
    .NAME.partial/journal   what is finished in it, so that a killed run can go on
    .NAME.partial/old       what NAME was, between the two renames that replace it

The lock is the operating system's, on the folder: it ends with the process that holds it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from dovetail.data.journal import Journal
from dovetail.data.manifest import NAME, sync_directory
from dovetail.errors import DataError


class Aside:
    """A folder to write records in before they are whole.

    Args:
      directory: where the records will be; absent, or empty.
      replace: records may be there already, and are replaced.
      resume: keep what an earlier run left, for the journal's reader to judge; otherwise it goes.

    Raises:
      DataError: if the directory holds something else, is being written by another process, or
        can't be written.

    Attributes:
      records: the folder to write in.
      journal: of what is finished there.
    """

    def __init__(self, directory: Path, *, replace: bool = False, resume: bool = False) -> None:
        self.directory = directory
        self.folder = directory.with_name(f".{directory.name}.partial")
        self.records = self.folder / "records"
        self._old = self.folder / "old"
        if not self.folder.exists():
            _refuse_occupied(directory, replace)  # before anything is made
        self._lock: int | None = _take(self.folder, directory)
        try:
            if self._old.exists() and not directory.exists():
                self._old.rename(directory)  # a run was killed between the two renames below
            shutil.rmtree(self._old, ignore_errors=True)
            _refuse_occupied(directory, replace)
            # Without records, a run was killed after it had put them in place.
            if not resume or not self.records.exists():
                _empty(self.folder)
            self.records.mkdir(exist_ok=True)
            self.journal = Journal(self.folder / "journal")
        except BaseException as error:
            self._release(keep=self.records.exists())
            if isinstance(error, OSError):
                raise _not_writable(directory, self.folder, error) from error
            raise

    @property
    def held(self) -> bool:
        """Whether this is still the process's own: neither put in place nor given up."""
        return self._lock is not None

    def put_in_place(self) -> None:
        """Make the records, which are whole and durable, appear as the directory."""
        _refuse_occupied(self.directory, replace=True)
        if (self.directory / NAME).exists():
            os.rename(self.directory, self._old)
        os.rename(self.records, self.directory)
        sync_directory(self.directory.parent)
        self._release(keep=False)

    def give_up(self) -> bool:
        """Let go of the folder; say whether it stays, as it does if something is finished in it."""
        keep = self.held and len(self.journal.entries) > 1
        if self.held:
            self._release(keep=keep)
        return keep

    def _release(self, *, keep: bool) -> None:
        assert self._lock is not None
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)
        self._lock = None


def _refuse_occupied(directory: Path, replace: bool) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise DataError(f"{directory} is a file; records need a folder of their own.")
    if any(directory.iterdir()):
        holds_records = (directory / NAME).exists()
        if replace and holds_records:
            return
        what = "a set of records" if holds_records else "files"
        raise DataError(
            f"{directory} already holds {what}. Choose another folder, or remove it first."
        )


def _take(folder: Path, directory: Path) -> int:
    """Make the folder to write in and lock it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _not_writable(directory, folder, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(handle), os.stat(folder)):
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError):
        os.close(handle)
        raise DataError(
            f"{directory} is being written by another process. Wait for it, or choose another "
            "folder."
        ) from None
    except OSError as error:
        os.close(handle)
        raise _not_writable(directory, folder, error) from error
    return handle


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _not_writable(directory: Path, folder: Path, error: OSError) -> DataError:
    return DataError(f"{directory} can't be written: {error.strerror} ({folder}).")

"""One run at a time in a model_dir: two would overwrite each other's checkpoints and event logs."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dovetail.errors import ModelDirInUseError, StorageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = "run.lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}
_held_here: set[int] = set()


@dataclasses.dataclass(frozen=True)
class Holder:
    """The run that has, or had, a model_dir.

    Attributes:
      pid: of its process.
      host: the name of its machine.
      started: when, in seconds since 1970.
      command: its command line.
      ended: when it ended by itself, an error or a signal included; None while it is there, and
        for one that was killed.
      alive: whether it still has the model_dir.
    """

    pid: int
    host: str
    started: float
    command: str
    ended: float | None
    alive: bool

    def describe(self) -> str:
        """Return a phrase such as "process 71 on a machine named node3, since 2025-01-31 12:00"."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.started))
        where = "this machine" if self.host == socket.gethostname() else self.host
        return f"process {self.pid} on {where}, since {since} ({self.command})"


@contextlib.contextmanager
def held(model_dir: str | os.PathLike[str], note: Callable[[str], object]) -> Iterator[None]:
    """Keep other runs out of a model_dir for the length of a `with` block.

    The system lets go of the lock when the process ends, however it ends. `run.lock` stays there,
    and says who had it.

    Args:
      model_dir: of the run; made when absent.
      note: is called with a message if the run before was killed, or if the file system has no
        locks, so that nothing keeps a second run out.

    Raises:
      ModelDirInUseError: another run has it, in this process or another; the message says which.
      StorageError: `run.lock` cannot be written, since the disk is full or fails.

    Example:

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with held(folder, print):
    ...     try:
    ...         with held(folder, print):
    ...             pass
    ...     except ModelDirInUseError:
    ...         print("in use")
    in use
    """
    path = Path(model_dir) / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    _held_here.add(handle)
    try:
        locked = _locked(handle)
        before = _read(path, alive=not locked)
        if locked is None:
            note(
                f"{path.parent} is on a file system without locks: nothing keeps a second run out "
                "of it. Do not start one there."
            )
        elif not locked:
            raise _in_use(path, before)
        if locked and before is not None and before.ended is None:
            note(
                f"The run before in {path.parent} did not end by itself: {before.describe()}. It "
                "was killed, or its machine stopped; this one goes on from its last checkpoint."
            )
        present = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.time(),
            "command": " ".join(sys.argv) or "python",
        }
        _write(handle, path, present)
        try:
            yield
        finally:
            if handle in _held_here:  # else this is a child that was forked inside the block
                with contextlib.suppress(StorageError):  # what ended the run matters more
                    _write(handle, path, {**present, "ended": time.time()})
    finally:
        if handle in _held_here:
            _held_here.discard(handle)
            os.close(handle)


def holder(model_dir: str | os.PathLike[str]) -> Holder | None:
    """Return who has, or had last, a model_dir; None where no run ever had it.

    Example:

    >>> holder("no/such/folder") is None
    True
    """
    path = Path(model_dir) / NAME
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    _held_here.add(handle)
    try:
        return _read(path, alive=_locked(handle, shared=True) is False)
    finally:
        _held_here.discard(handle)
        os.close(handle)


def _locked(handle: int, *, shared: bool = False) -> bool | None:
    """Try to lock an open file: whether it worked; None where there are no locks."""
    if fcntl is None:
        return None
    # Not POSIX's record locks: they go when the process closes any handle of the file, and keep
    # nothing out of the same process.
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _in_use(path: Path, by: Holder | None) -> ModelDirInUseError:
    who = "another run" if by is None else by.describe()
    again = "Wait for it, or stop it; or give this run another model_dir."
    if by is not None and by.host == socket.gethostname() and by.pid == os.getpid():
        again = "It is this very process: let the one end before the other begins."
    return ModelDirInUseError(
        f"{path.parent} is in use by {who}. Two runs in one model_dir would overwrite each "
        f"other's checkpoints. {again}"
    )


def _read(path: Path, *, alive: bool) -> Holder | None:
    """Read who wrote the lock; None where nobody did, or was killed while writing."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Holder(
            pid=int(found["pid"]),
            host=str(found["host"]),
            started=float(found["started"]),
            command=str(found["command"]),
            ended=None if found.get("ended") is None else float(found["ended"]),
            alive=alive,
        )
    except (ValueError, KeyError, TypeError):
        return None


def _write(handle: int, path: Path, content: dict[str, object]) -> None:
    # In place: a file renamed over this one would not be the one that is locked.
    data = json.dumps(content).encode() + b"\n"
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, data, 0)
    except OSError as error:
        raise StorageError(
            f"{path} could not be written: {error}. Make room or mend the disk, then start the "
            "same command again."
        ) from error


def _let_go() -> None:
    """In a forked child: it must not keep the lock of a parent that was killed."""
    for handle in _held_here:
        os.close(handle)
    _held_here.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

"""Which process wrote something, so that another one that got its number is not taken for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Process:
    """A process, told apart from all others that are, were or will be on any machine.

    Attributes:
      pid: its number.
      host: the name of the machine.
      boot: of the machine, since it was last started; "" where that can't be known.
      started: of the process, in ticks since then; None where that can't be known.
      namespace: in which pid counts, as containers have their own; "" where that can't be known.
    """

    pid: int
    host: str
    boot: str = ""
    started: int | None = None
    namespace: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Process:
        """Return what `to_dict` gave; more that is there is left out.

        Raises:
          KeyError, TypeError, ValueError: it is not that.
        """
        started = values.get("started")
        return Process(
            pid=int(values["pid"]),
            host=str(values["host"]),
            boot=str(values.get("boot") or ""),
            started=None if started is None else int(started),
            namespace=str(values.get("namespace") or ""),
        )


def this_process() -> Process:
    """Return the process that runs this.

    >>> alive(this_process())
    True
    """
    pid = os.getpid()
    return Process(pid, socket.gethostname(), _boot(), _started(pid), _namespace())


def alive(process: Process) -> bool | None:
    """Return whether a process still runs; None if that can't be known from here.

    It can't for one on another machine, or in a container with numbers of its own. A process that
    has ended and that nobody has waited for (a zombie) does not run.
    """
    if process.host != socket.gethostname():
        return None
    if process.boot and _boot() and process.boot != _boot():
        return False  # the machine was started again
    if process.namespace and _namespace() and process.namespace != _namespace():
        return None
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and another user's
    except (OverflowError, OSError):
        return False
    stat = _stat(process.pid)
    if stat is None:
        return True  # no /proc here: the number is all there is to go by
    state, started = stat
    if state in "ZX":
        return False
    return process.started is None or started == process.started


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    stat = _stat(pid)
    return None if stat is None else stat[1]


def _stat(pid: int) -> tuple[str, int] | None:
    """Return a process's state and when it was started, in ticks since the machine was."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets, which may hold anything.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])

"""Runs of `dovetail`, each forked from one process that has imported it, with faults at moments.

A run that a user starts takes seconds to import torch; forked, it is the same run without them. A
request is a line of JSON on stdin: {"words": of the command line, "out", "err": files for what it
writes, "fault": a fault or null, "script": a file to run instead of `dovetail`, or null}; the
answers are two lines, its process id and its exit code.

A fault is {"folder": where, "at": N, "do": what}. Everything that is done to files in `folder`
(opened to be written, made, renamed, removed, synced) is counted, and at the Nth:

    "kill"           the process is killed before it is done
    "ENOSPC", "EIO"  it fails so, it and all others of its kind that follow
    "limit"          from there on no file can grow beyond "bytes": the write that crosses that
                     is done in part, and fails
    "fill"           from there on the file system is full, up to the last byte
    "SIGTERM", ...   the signal is sent, once

"only" names one kind of event that is counted, "like" a part of the path. With "count" the number
of events is written to that file at the end and nothing fails.
"""

from __future__ import annotations

import atexit
import errno
import importlib
import json
import os
import resource
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

KINDS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link")


class Fault:
    def __init__(self, fault: dict[str, Any]) -> None:
        self.fault = fault
        self.folder = os.path.abspath(fault["folder"])
        self.seen = 0
        self.struck = False

    def event(self, kind: str, args: tuple[Any, ...]) -> None:
        """See one event; an audit hook, so it comes before what it tells of is done."""
        if kind in KINDS and self._concerns(kind, args):
            self.count(kind)

    def count(self, kind: str) -> None:
        if self.fault.get("only", kind) != kind:
            return
        self.seen += 1
        if "count" in self.fault or self.seen < self.fault["at"]:
            return
        self.strike()

    def strike(self) -> None:
        do = self.fault["do"]
        if do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif do in ("ENOSPC", "EIO"):
            code = getattr(errno, do)
            raise OSError(code, os.strerror(code), self.folder)
        elif not self.struck:
            self.struck = True
            if do == "limit":
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.fault["bytes"],) * 2)
            elif do == "fill":
                self._fill()
            else:
                os.kill(os.getpid(), getattr(signal, do))

    def _concerns(self, kind: str, args: tuple[Any, ...]) -> bool:
        if kind == "open":
            path, _, flags = args
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
            if not writes:
                return False
        else:
            path = args[0]
        if isinstance(path, (str, os.PathLike)):
            path = os.path.abspath(os.fspath(path))
            return path.startswith(self.folder) and self.fault.get("like", "") in path
        return False

    def _fill(self) -> None:
        with open(os.path.join(self.folder, "ballast"), "wb", buffering=0) as ballast:
            for size in (4096, 1):
                try:
                    while ballast.write(b"x" * size):
                        pass
                except OSError:
                    continue


def main() -> int:
    """Import what takes seconds, then fork a run for each request, in the order they come."""
    for name in ("dovetail.run.estimator", "torch._dynamo", "torchmetrics", "tensorboard"):
        importlib.import_module(name)
    from dovetail.cli.main import main as dovetail_command

    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            sys.stdin.close()
            for number, path in ((1, request["out"]), (2, request["err"])):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
            strike(request["fault"])
            sys.argv = [request["script"] or "dovetail", *request["words"]]
            if request["script"]:
                runpy.run_path(request["script"], run_name="__main__")
                return 0
            return dovetail_command()
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
    return 0


def strike(asked: dict[str, Any] | None) -> None:
    """Let a fault come in this process."""
    if asked is None:
        return
    fault, sync = Fault(asked), os.fsync

    def fsync(handle: Any) -> None:
        fault.count("os.fsync")
        sync(handle)

    os.fsync = fsync
    sys.addaudithook(fault.event)
    if "count" in asked:
        atexit.register(lambda: Path(asked["count"]).write_text(str(fault.seen)))


if __name__ == "__main__":
    sys.exit(main())

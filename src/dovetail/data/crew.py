"""Several processes that read files; their rows come back in file order."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from dovetail.data.reading import Job, Part
from dovetail.data.travelling import Travelling, travelling
from dovetail.errors import DataError

_AHEAD = 4  # parts that each process may have ready beyond the one being taken
_MOST = 16  # processes that are started unasked: each may import torch


@dataclass(frozen=True)
class _Worker:
    process: SpawnProcess
    receiver: Connection
    current: Any  # shared integer: the index of the file at hand, -1 before the first


def usual_workers() -> int:
    """Return how many processes to read with where nothing was said: one per CPU, at most 16."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(len(affinity(0)) if affinity else os.cpu_count() or 1, _MOST)


def can_travel(job: Job) -> bool:
    """Whether another process can be handed this job (a notebook's own functions cannot)."""
    main = sys.modules.get("__main__")
    if getattr(job.read, "__module__", None) == "__main__" and not hasattr(main, "__file__"):
        return False
    try:
        pickle.dumps(job)
    except Exception:  # whatever pickle makes of someone else's object, the answer is no
        return False
    return True


def refuse_in_starting_process() -> None:
    """Raise where a script without a main guard runs anew in a process that it started."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise DataError(
            "prepare was called while a worker process was starting: the script that calls it "
            "runs again in each one. Put the call under `if __name__ == '__main__':`."
        )


def read_in_processes(
    job: Job, files: Sequence[str], workers: int, start: int = 0
) -> Iterator[Part]:
    """Yield the parts of the files in order, read by several processes.

    Process `i` of `n` reads the files `start + i`, `start + i + n`, ...: since the parts are
    taken in that same order, no process gets more than a few parts ahead and memory is bounded.

    Args:
      job: how to read; it is pickled.
      files: names of all files.
      workers: number of processes, at least 1.
      start: index of the first file to read.

    Raises:
      DataError: a file fails, the job cannot be sent, or a process dies.
    """
    crew: list[_Worker] = []
    try:
        for number in range(min(workers, len(files) - start)):
            crew.append(_start(job, range(start + number, len(files), workers), files))
        for index in range(start, len(files)):
            worker = crew[(index - start) % workers]
            last = False
            while not last:
                try:
                    message = worker.receiver.recv()
                except (EOFError, OSError):
                    raise _death(worker, files) from None
                if isinstance(message, Travelling):
                    message.arrive()
                yield message
                last = message.last
    finally:
        _dismiss(crew)


def _start(job: Job, indices: range, files: Sequence[str]) -> _Worker:
    try:
        payload = pickle.dumps((job, [(index, files[index]) for index in indices]))
    except Exception as error:
        raise DataError(
            f"{job.name} cannot be sent to another process ({type(error).__name__}: {error}). "
            "Make it a function at the top level of a file, or read with workers=1."
        ) from error
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    current = context.RawValue("q", -1)
    process = context.Process(
        target=_work, args=(payload, job.name, current, sender), daemon=True, name="prepare"
    )
    # Blocked signals stay so in the child: Ctrl-C is for this process, which ends the others.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        sender.close()  # so that the receiver sees the end when the process does
    return _Worker(process, receiver, current)


def _death(worker: _Worker, files: Sequence[str]) -> DataError:
    worker.process.join(10)
    code = worker.process.exitcode
    if code is not None and code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
    else:
        how = f"ended with exit code {code}"
    index = worker.current.value
    if index < 0:
        return DataError(
            f"A worker process {how} before it read its first file. If a script calls prepare, "
            "the call must stand under `if __name__ == '__main__':`; or read with workers=1."
        )
    return DataError(
        f"A worker process {how} at '{files[index]}'. Memory may have run out (use fewer workers) "
        "or a library crashed on that file (read with workers=1 to see). Nothing was written."
    )


def _dismiss(crew: Sequence[_Worker]) -> None:
    for worker in crew:
        worker.receiver.close()
        worker.process.terminate()
    for worker in crew:
        worker.process.join(5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()


def _work(payload: bytes, name: str, current: Any, sender: Connection) -> None:
    """What a worker process does: read its files and send their parts, or the first failure."""
    outbox: queue.Queue[Part | Travelling | None] = queue.Queue(_AHEAD)
    sending = threading.Thread(target=_send, args=(outbox, sender))
    sending.start()
    try:
        job, files = _unpack(payload, name)
        for index, filename in files:
            current.value = index
            for part in job.parts(index, filename):
                outbox.put(part)
    except Exception as error:
        outbox.put(travelling(error))
    outbox.put(None)
    sending.join()


def _unpack(payload: bytes, name: str) -> tuple[Job, list[tuple[int, str]]]:
    try:
        return pickle.loads(payload)
    except Exception as error:
        raise DataError(
            f"{name} cannot be loaded in a worker process ({type(error).__name__}: {error}). "
            "Put it in a file that can be imported, or read with workers=1."
        ) from error


def _send(outbox: queue.Queue[Part | Travelling | None], sender: Connection) -> None:
    try:
        while (message := outbox.get()) is not None:
            sender.send(message)
        sender.close()
    except BaseException:
        # Nobody listens any more, or memory has run out. Were only this thread to end, the one
        # that reads would wait for ever.
        os._exit(1)

"""What a worker process does: make the batches that it is told to, and do a pipeline's steps."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from dovetail.data.pipeline.batch_steps import Carried, Steps, Timings
from dovetail.data.pipeline.crossing import Packed, pack, receive, send, unpack
from dovetail.data.pipeline.elsewhere import Elsewhere
from dovetail.data.pipeline.flow import begun
from dovetail.data.pipeline.locks import NamedLock, SharedFile
from dovetail.data.pipeline.steps import BatchStep, every_step
from dovetail.data.pipeline.worker_job import Job
from dovetail.data.travelling import travelling
from dovetail.errors import DataError

GRACE = 5.0  # seconds that a worker may go on with the batch at hand when the pass has ended


@dataclass(frozen=True)
class Done:
    """What became of one batch.

    Attributes:
      carried: None if a step dropped it.
      attached: whether the batch has the data set's data.
      timings: which of the job's steps were done, how often, in how many seconds.
    """

    carried: Carried | None
    attached: bool
    timings: list[tuple[int, float, float]]


def work(connection: Connection) -> None:
    """Do what comes through a pipe, until it is closed."""
    try:
        told = receive(connection, mapped=True)
        numbers: dict[str, int] = connection.recv()
        file = SharedFile(reduction.recv_handle(connection))
        job: Job = unpack(told)
    except EOFError:
        return
    except Exception as error:
        said = DataError(
            f"The batch class, its steps or the data set can't be loaded in a worker process "
            f"({type(error).__name__}: {error}). Put them in a file that can be imported, or "
            "prefetch with threads: target='threads'."
        )
        said.__cause__ = error
        _answer(connection, pack(travelling(said)))
        return
    if "torch" in sys.modules:  # the workers are as many as the cores: one thread for each
        sys.modules["torch"].set_num_threads(1)
    _answer(connection, pack(None))
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    timings = Timings()
    do = Steps(job.steps, timings)
    pipeline = Elsewhere(job, {name: NamedLock(at, file) for name, at in numbers.items()})
    while (selection := inbox.get()) is not _ENDED:
        try:
            batch = job.dataset.create_batch(selection, pipeline)
            carried = do(begun(batch, selection, len(job.dataset)), pipeline)
            attached = carried is not None and carried.batch.dataset is not None
            answer = _packed(Done(carried, attached, _taken(timings, job.steps)))
        except Exception as error:
            answer = pack(travelling(error))
        if not _answer(connection, answer):
            return


_ENDED = object()


def _listen(connection: Connection, inbox: queue.SimpleQueue[Any]) -> None:
    """Take what is sent at once, so that the main process never waits in sending."""
    while True:
        try:
            inbox.put(connection.recv())
        except (EOFError, OSError):  # the pass has ended, or the main process has
            break
    while not inbox.empty():
        inbox.get()
    inbox.put(_ENDED)
    time.sleep(GRACE)
    os._exit(1)


def _answer(connection: Connection, packed: Packed) -> bool:
    try:
        send(connection, packed)
    except OSError:  # nobody waits for it any more
        return False
    return True


def _packed(done: Done) -> Packed:
    try:
        return pack(done)
    except Exception as error:
        assert done.carried is not None
        batch = done.carried.batch
        name, why = _culprit(batch, error)
        raise DataError(
            f"A worker process can't send back {type(batch).__name__} (batch "
            f"{done.carried.iteration}): {name} can't be pickled ({type(why).__name__}: {why}). "
            "Drop it in the last action, or prefetch with threads: target='threads'."
        ) from error


def _culprit(batch: Any, error: Exception) -> tuple[str, Exception]:
    for name, value in batch.__getstate__().items():
        try:
            pack(value)
        except Exception as why:
            return f"its '{name}'", why
    return "it", error


def _taken(timings: Timings, steps: Sequence[BatchStep]) -> list[tuple[int, float, float]]:
    """What was counted since the last time."""
    found = []
    for number, step in enumerate(every_step(steps)):
        entry = timings.entry(step)
        if entry[0]:
            found.append((number, entry[0], entry[1]))
            entry[:] = [0, 0.0]
    return found

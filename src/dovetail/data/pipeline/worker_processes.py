"""The first steps of a pipeline, done to the next batches by worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, reduction
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import TYPE_CHECKING, Any

from dovetail.data.batches.actions import find_action
from dovetail.data.datasets.walk import Selection
from dovetail.data.pipeline.batch_steps import Carried
from dovetail.data.pipeline.crossing import Packed, receive, send, unpack
from dovetail.data.pipeline.steps import BatchStep, actions, every_step
from dovetail.data.pipeline.worker import GRACE, work
from dovetail.data.pipeline.worker_job import CURE, packed_job
from dovetail.data.travelling import Travelling
from dovetail.errors import DataError

if TYPE_CHECKING:
    from dovetail.data.pipeline.pipeline import Pipeline


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    doing: deque[tuple[int, Selection]] = field(default_factory=deque)


class InProcesses(Iterator[Carried | None]):
    """Batches with their first steps done, in the order of the walk, made in worker processes.

    Each process gets the data set and the steps once, and then only selections; arrays come back
    in memory that both share. `depth + 1` batches are under way at most. The processes are
    started when the first batch is asked for.

    Args:
      selections: drawn as they are needed, in the caller's thread.
      steps: to be done to each batch; none of them takes a model or writes a variable.
      pipeline: that they are of.
      depth: how many processes, but not more than cores; 1 or more.

    Raises:
      DataError: something can't be sent to a process; or, when a batch is asked for, a process
        died. An error of a step is raised where its batch would have come.
    """

    def __init__(
        self,
        selections: Iterator[Selection],
        steps: Sequence[BatchStep],
        pipeline: Pipeline,
        depth: int,
    ) -> None:
        assert depth >= 1
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise DataError(
                "A pipeline was run while a worker process of it was starting: the script that "
                "runs it is read again by each of them. Put the run under "
                "`if __name__ == '__main__':`."
            )
        self._selections: Iterator[Selection] | None = selections
        self._pipeline, self._depth = pipeline, depth
        self._steps = every_step(steps)
        self._job: Packed | None = packed_job(steps, pipeline)
        self._locks = _lock_names(steps, pipeline.batch_class)
        self._crew: list[_Worker] = []
        self._end = weakref.finalize(self, _dismiss, self._crew)
        self._asked = self._given = 0  # numbers of the next batch to ask for, and to give
        self._there: dict[int, Packed] = {}
        self._error: BaseException | None = None  # of the selections: it comes after them

    def __next__(self) -> Carried | None:
        try:
            return self._next()
        except BaseException:
            self.close()
            raise

    def _next(self) -> Carried | None:
        if self._job is not None:
            self._start(self._job)
            self._job = None
        self._fill()
        if self._asked == self._given:
            if self._error is not None:
                raise self._error
            raise StopIteration
        while self._given not in self._there:
            self._collect()
        done = _unpacked(self._there.pop(self._given))
        self._given += 1
        timings, pipeline = self._pipeline.timings_kept, self._pipeline
        for number, times, seconds in done.timings:
            timings.add(self._steps[number], times, seconds)
        carried = done.carried
        if carried is not None:
            carried.batch.attach(pipeline.dataset if done.attached else None, pipeline)
        return carried

    def _fill(self) -> None:
        while self._selections is not None and self._asked - self._given <= self._depth:
            try:
                selection = next(self._selections)
            except StopIteration:
                self._selections = None
            except BaseException as error:
                self._selections, self._error = None, error
            else:
                worker = min(self._crew, key=lambda worker: len(worker.doing))
                worker.doing.append((self._asked, selection))
                self._asked += 1
                try:
                    worker.pipe.send(selection)
                except OSError:
                    raise _death(worker) from None

    def _start(self, job: Packed) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        for number in range(min(self._depth, _cores())):
            self._crew.append(_started(context, f"dovetail-worker-{number}"))
        file, numbers = self._pipeline.locks.share(self._locks)
        for worker in self._crew:
            try:
                send(worker.pipe, job)
                worker.pipe.send(numbers)
                reduction.send_handle(worker.pipe, file.fileno(), worker.process.pid)
            except OSError:
                raise _death(worker) from None

    def _collect(self) -> None:
        """Take what has come; wait until something has, or a process has died."""
        pipes: dict[Any, _Worker] = {worker.pipe: worker for worker in self._crew}
        ends: dict[Any, _Worker] = {worker.process.sentinel: worker for worker in self._crew}
        come = connection.wait([*pipes, *ends])
        for pipe in come:
            if pipe in pipes:
                self._take(pipes[pipe])
        for end in come:
            if end in ends and not ends[end].pipe.poll():
                raise _death(ends[end])

    def _take(self, worker: _Worker) -> None:
        try:
            answer = receive(worker.pipe)
        except (EOFError, OSError):
            raise _death(worker) from None
        if not worker.ready:
            _unpacked(answer)
            worker.ready = True
        else:
            number, _ = worker.doing.popleft()
            self._there[number] = answer

    def close(self) -> None:
        """End the processes; what they are doing is waited for a few seconds."""
        self._job = self._selections = None
        self._asked = self._given
        self._there.clear()
        self._end()

    def __enter__(self) -> InProcesses:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _unpacked(answer: Packed) -> Any:
    """What a worker says; what it tells of is raised."""
    said = unpack(answer)
    if isinstance(said, Travelling):
        said.arrive()
    return said


def _started(context: SpawnContext, name: str) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs,), name=name, daemon=True)
    # Blocked signals stay so in the child: Ctrl-C is for this process, which ends the others.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # so that our end sees the end when the process does
    return _Worker(process, ours)


def _dismiss(crew: list[_Worker]) -> None:
    for worker in crew:
        worker.pipe.close()
    for worker in crew:
        worker.process.join(GRACE + 1)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()
    crew.clear()


def _death(worker: _Worker) -> DataError:
    process = worker.process
    process.join(10)
    code = process.exitcode
    name = f"The worker process {process.name} (process {process.pid})"
    if code is not None and code < 0:
        name += f" was killed by {signal.Signals(-code).name}, exit code {code},"
    else:
        name += f" ended with exit code {code}"
    if not worker.ready:
        return DataError(
            f"{name} before its first batch. If a script runs the pipeline, the run must stand "
            f"under `if __name__ == '__main__':`; or {CURE}"
        )
    where = ""
    if worker.doing:
        _, selection = worker.doing[0]
        shown = ", ".join(map(repr, selection.ids[:4].tolist())) + ", ..." * (len(selection) > 4)
        where = f" in the middle of batch {selection.iteration} (items {shown})"
    return DataError(
        f"{name}{where}. Memory may have run out (use fewer, a smaller prefetch), or a library "
        f"crashed on these items; to see where, {CURE}"
    )


def _lock_names(steps: Sequence[BatchStep], batch_class: type | None) -> list[str]:
    if batch_class is None:
        return []
    marks = {act.name: find_action(batch_class, act.name).use_lock for act in actions(tuple(steps))}
    names = {name if lock is True else str(lock) for name, lock in marks.items() if lock}
    return sorted(names)


def _cores() -> int:
    here = getattr(os, "sched_getaffinity", None)  # macOS has no affinity
    return len(here(0)) if here else os.cpu_count() or 1

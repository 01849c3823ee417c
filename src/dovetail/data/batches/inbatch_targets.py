"""Calling a function many times: in a loop, in threads, in processes, or as coroutines."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from dovetail.errors import DataError

Call = tuple[tuple[Any, ...], dict[str, Any]]
TARGETS = ("threads", "processes", "async", "for")

_NAME = "dovetail-inbatch"


class Failed(NamedTuple):
    """What came of a call that raised an error."""

    error: Exception


def run_all(fn: Callable[..., Any], calls: Sequence[Call], target: str) -> list[Any]:
    """Make all calls, each whatever becomes of the others.

    Args:
      fn: the function.
      calls: the arguments and keyword arguments of each call.
      target: one of `TARGETS`. One pool of threads, and one of processes, serve all callers of a
        process; they end with it.

    Returns:
      for each call its result, or `Failed`, in the order of the calls.

    Raises:
      DataError: if a process died, or something can't be sent to one.

    >>> run_all(int, [(("3",), {}), (("x",), {})], "for")[0]
    3
    """
    if target not in TARGETS:
        raise DataError(f"target is one of {', '.join(TARGETS)}; got {target!r}.")
    if target == "async":
        return _run_async(fn, calls)
    # A thread of the pool that waited for others of it could wait for ever.
    within = threading.current_thread().name.startswith(_NAME)
    # What is a worker process itself, of a pipeline say, starts no others.
    worker = target == "processes" and multiprocessing.parent_process() is not None
    if target == "for" or not calls or worker or (target == "threads" and within):
        return _run_some(fn, calls)
    if target == "threads":
        return _gathered(_threads(), fn, calls, 8 * _thread_count())
    try:
        pickle.dumps((fn, calls))
    except Exception as error:  # whatever pickle makes of someone else's object
        raise DataError(
            f"A worker process can't be sent this work ({type(error).__name__}: {error}). Define "
            "class and functions at the top level of a file that can be imported, and give init "
            'only plain values and arrays; or use target="threads".'
        ) from error
    try:
        return _gathered(_processes(), fn, calls, 4 * _cpus())
    except BrokenProcessPool as error:
        raise DataError(_death()) from error


def _run_some(fn: Callable[..., Any], calls: Sequence[Call]) -> list[Any]:
    outcomes: list[Any] = []
    for args, kwargs in calls:
        try:
            outcomes.append(fn(*args, **kwargs))
        except Exception as error:
            outcomes.append(Failed(error))
    return outcomes


def _gathered(
    pool: Executor, fn: Callable[..., Any], calls: Sequence[Call], most: int
) -> list[Any]:
    """Hand out the calls in at most so many shares: each costs about as much as 20 us of work."""
    step = -(-len(calls) // most)
    waiting: list[Future[list[Any]]] = []
    try:
        for at in range(0, len(calls), step):
            waiting.append(pool.submit(_run_some, fn, calls[at : at + step]))
        return [outcome for share in waiting for outcome in share.result()]
    finally:
        for share in waiting:
            share.cancel()


def _run_async(fn: Callable[..., Any], calls: Sequence[Call]) -> list[Any]:
    async def one(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return await fn(*args, **kwargs)
        except Exception as error:
            return Failed(error)

    async def every() -> list[Any]:
        return list(await asyncio.gather(*[one(*call) for call in calls]))

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(every())
    # In a notebook a loop runs in this thread already: another thread has one of its own.
    with ThreadPoolExecutor(1, f"{_NAME}-loop") as pool:
        return pool.submit(asyncio.run, every()).result()


def _cpus() -> int:
    here = getattr(os, "sched_getaffinity", None)  # macOS has no affinity
    return len(here(0)) if here else os.cpu_count() or 1


def _thread_count() -> int:
    return min(32, 4 + _cpus())  # above the CPUs: items wait for disks and networks


_lock = threading.Lock()
_pools: dict[str, Executor] = {}


def _threads() -> Executor:
    with _lock:
        if "threads" not in _pools:
            _pools["threads"] = ThreadPoolExecutor(_thread_count(), _NAME)
        return _pools["threads"]


def _processes() -> Executor:
    with _lock:
        if "processes" not in _pools:
            # Not forked: a fork of a process with threads, torch's too, may hang.
            context = multiprocessing.get_context("spawn")
            _pools["processes"] = ProcessPoolExecutor(
                _cpus(), mp_context=context, initializer=_end_with_parent
            )
        return _pools["processes"]


def _end_with_parent() -> None:
    """In a worker process: end when the process that started it is gone, killed perhaps."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _death() -> str:
    """Say which process died, and have the next work begin with new ones."""
    with _lock:
        pool = _pools.pop("processes", None)
    workers = list((getattr(pool, "_processes", None) or {}).values())
    if pool is not None:
        pool.shutdown(wait=True)
    return _said_of([(worker.name, worker.exitcode) for worker in workers])


def _said_of(workers: Sequence[tuple[str, int | None]]) -> str:
    ended = [(name, code) for name, code in workers if code not in (None, 0)]
    # The pool itself ends the others, by SIGTERM: the one that died otherwise came first.
    ended.sort(key=lambda worker: worker[1] == -15)
    said = f"{ended[0][0]} (exit code {ended[0][1]})" if ended else "one of them"
    return (
        f"A worker process died in the middle of a batch: {said}. It may have run out of memory; "
        "or the script that runs has no `if __name__ == '__main__':` around what it does, so that "
        "each worker began it anew. The batch was not finished."
    )


def _forget() -> None:
    """In a forked process the pools' threads and processes are not there."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_forget)

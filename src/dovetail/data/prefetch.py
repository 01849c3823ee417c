"""Making the next items in a thread while the present one is being used."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_ITEM, _ERROR, _END = range(3)
_GO, _STOP = True, False


class Prefetched(Iterator[T], Generic[T]):
    """The items of an iterable, in order, made ahead of time by one thread; see `prefetch`."""

    def __init__(self, iterable: Iterable[T], depth: int) -> None:
        assert depth >= 1
        # SimpleQueue is written in C: a hand-over costs about a microsecond, and 10 if one side
        # has to be woken. `_free` holds one token for each item that may yet be made.
        self._ready: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[bool] = queue.SimpleQueue()
        for _ in range(depth):
            self._free.put(_GO)
        # The thread holds no reference to this object, so that it can be collected, and the
        # thread ended, when a caller drops it in the midst. A daemon, so that an iterable which
        # never returns can't keep the process alive.
        self._thread: threading.Thread | None = threading.Thread(
            target=_make,
            args=(iterable, self._free, self._ready),
            name="dovetail-prefetch",
            daemon=True,
        )
        self._end = weakref.finalize(self, _end, self._free, self._thread)
        self._thread.start()

    def __next__(self) -> T:
        if self._thread is None:
            raise StopIteration
        kind, value = self._ready.get()
        if kind == _ITEM:
            self._free.put(_GO)
            return value
        self.close()
        if kind == _ERROR:
            try:
                raise value
            finally:
                del value  # else error, traceback and this frame hold each other
        raise StopIteration

    def close(self) -> None:
        """End the thread, and wait for it: until the item that it is making is made."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._end.detach()
            self._free.put(_STOP)
            if thread is not threading.current_thread():
                thread.join()

    def __enter__(self) -> Prefetched[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Direct(Iterator[T], Generic[T]):
    """The items of an iterable, made when they are asked for: prefetching of depth 0."""

    def __init__(self, iterable: Iterable[T]) -> None:
        self._items: Iterator[T] | None = iter(iterable)

    def __next__(self) -> T:
        if self._items is None:
            raise StopIteration
        return next(self._items)

    def close(self) -> None:
        """Close the iterable, if it can be closed."""
        items, self._items = self._items, None
        close = getattr(items, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Direct[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class WhereSlow(Iterator[T], Generic[T]):
    """The items of an iterable, made in a thread while they are slow to make, and else directly.

    A thread pays where an item takes long beside what is done with it, as from a slow disk. One
    that takes some microseconds is made in less time than two threads need to take turns at
    Python's lock, and a thread at work beside torch's own, one for each core, holds up all of
    them. So items are made directly until several were slow, then in a thread for a spell, which
    is longer each time that they still are slow after it. Quick ones are made several at once: the
    first after a step finds none of its code in the processor's caches, and takes four times as
    long as the next.

    Args:
      iterable: what to iterate over.
      depth: how many items are made ahead at most, 1 or more.
      clock: seconds, never going back.
    """

    def __init__(
        self,
        iterable: Iterable[T],
        depth: int,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        assert depth >= 1
        self._items: Iterator[T] | None = iter(iterable)
        self._clock = clock
        self._depth = depth
        self._ahead: Prefetched[T] | None = None
        self._spell = _LEAST_SPELL
        self._slow = 0.0  # rises by 1 with a slow item, falls by a quarter with another
        self._since = 0  # items made directly since the last spell
        self._made: deque[T] = deque()  # directly, and not handed over yet
        self._error: BaseException | None = None  # that comes after those
        self._given: tuple[float, int] | None = None  # when items were made directly, how many

    def __next__(self) -> T:
        if self._made:
            return self._made.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._ahead is not None:
            try:
                return next(self._ahead)
            except StopIteration:  # of the spell, or of the items: the next one tells
                self._ahead = None
        if self._items is None:
            raise StopIteration
        self._make(self._items)
        return self._made.popleft()

    def _make(self, items: Iterator[T]) -> None:
        """Make an item, and more while they are quick."""
        start = self._clock()
        used = (start - self._given[0]) / self._given[1] if self._given is not None else 0.0
        for number in range(1, self._depth + 1):
            try:
                self._made.append(next(items))
            except Exception as error:  # StopIteration too
                if number == 1:
                    raise
                self._error = error
                return
            now = self._clock()
            took, start = now - start, now
            self._given = now, number
            self._since += 1
            if took > _SLOW_SECONDS and took > _SLOW_SHARE * used:
                self._slow += 1
                if self._slow >= _SLOW_ITEMS:
                    self._begin_spell()
                return
            if self._slow > 0:
                self._slow -= 0.25

    def _begin_spell(self) -> None:
        assert self._items is not None
        longer = self._since <= 2 * _SLOW_ITEMS
        self._spell = min(self._spell * 2, _LONGEST_SPELL) if longer else _LEAST_SPELL
        self._slow, self._since, self._given = 0.0, 0, None
        self._ahead = Prefetched(itertools.islice(self._items, self._spell), self._depth)

    def close(self) -> None:
        """End the thread, if there is one, and close the iterable, if it can be closed."""
        self._made.clear()
        self._error = None
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()
        items, self._items = self._items, None
        close = getattr(items, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> WhereSlow[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_SLOW_SECONDS = 150e-6
_SLOW_SHARE = 0.2  # of the time that the item before was used for
_SLOW_ITEMS = 3
_LEAST_SPELL, _LONGEST_SPELL = 64, 4096


def prefetch(iterable: Iterable[T], depth: int) -> Prefetched[T] | Direct[T]:
    """Iterate over an iterable whose items are made ahead, in a thread of their own.

    Args:
      iterable: what to iterate over; its code runs in the thread.
      depth: how many items are made ahead at most; 0 makes each when it is asked for, without a
        thread.

    Returns:
      an iterator that keeps the order. An error of the iterable is raised where its item would
      have come, with its traceback. `close()`, which ends the thread, is called at the end, at an
      error, when the iterator is collected, and at the end of a `with` block over it.

    >>> with prefetch((n * n for n in range(4)), depth=2) as squares:
    ...     list(squares)
    [0, 1, 4, 9]
    """
    if depth < 0:
        raise ValueError(f"prefetch takes a depth of 0 or more; got {depth}")
    return Prefetched(iterable, depth) if depth else Direct(iterable)


def _make(
    iterable: Iterable[Any],
    free: queue.SimpleQueue[bool],
    ready: queue.SimpleQueue[tuple[int, Any]],
) -> None:
    items: Iterator[Any] | None = None
    try:
        items = iter(iterable)
        while free.get() is _GO:
            try:
                item = next(items)
            except StopIteration:
                ready.put((_END, None))
                return
            ready.put((_ITEM, item))
            del item  # the item is the caller's now; it may be large
    except BaseException as error:  # whatever it is, the caller's thread is to raise it
        ready.put((_ERROR, error))
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):
                close()


def _end(free: queue.SimpleQueue[bool], thread: threading.Thread) -> None:
    """End a thread whose iterator was dropped, or is there still when the interpreter exits."""
    free.put(_STOP)
    if thread is not threading.current_thread():
        thread.join(timeout=1.0)

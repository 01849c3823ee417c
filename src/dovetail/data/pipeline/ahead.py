"""Working on the next items in threads while the present one is being used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class InThreads(Iterator[U], Generic[T, U]):
    """What a function gives for each item, in the order of the items, made in several threads.

    `depth + 1` items are under way at most. Items are drawn in the caller's thread, and an error
    is raised where its item would have come; after it there is nothing more.

    Args:
      items: drawn as they are needed.
      function: called in any thread, for several items at a time.
      depth: how many threads, 1 or more.

    >>> with InThreads(iter(range(4)), lambda n: n * n, depth=2) as squares:
    ...     list(squares)
    [0, 1, 4, 9]
    """

    def __init__(self, items: Iterator[T], function: Callable[[T], U], depth: int) -> None:
        assert depth >= 1
        self._items: Iterator[T] | None = items
        self._function = function
        self._depth = depth
        self._threads = ThreadPoolExecutor(depth, thread_name_prefix="dovetail-pipeline")
        self._under_way: deque[Future[U]] = deque()
        self._error: BaseException | None = None  # of the items themselves: it comes after them

    def __next__(self) -> U:
        self._fill()
        if not self._under_way:
            error, self._error = self._error, None
            self.close()
            if error is not None:
                raise error
            raise StopIteration
        try:
            return self._under_way.popleft().result()
        except BaseException:
            self.close()
            raise

    def _fill(self) -> None:
        while self._items is not None and len(self._under_way) <= self._depth:
            try:
                item = next(self._items)
            except StopIteration:
                self._items = None
            except BaseException as error:
                self._items, self._error = None, error
            else:
                self._under_way.append(self._threads.submit(self._function, item))

    def close(self) -> None:
        """Drop what is not begun, and wait for what is: no thread remains."""
        self._items = None
        self._under_way.clear()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> InThreads[T, U]:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

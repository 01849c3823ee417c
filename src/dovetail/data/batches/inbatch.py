"""A method for one item, run for all items of a batch: in threads, processes, a loop, or async."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.data.batches.actions import SkipBatch
from dovetail.data.batches.inbatch_targets import TARGETS, Call, Failed, run_all
from dovetail.errors import DataError, DefinitionError, nearest

if TYPE_CHECKING:
    from dovetail.data.batches.batch import Batch

Init = str | Sequence[str] | Callable[..., Sequence[Any]]
Post = str | Callable[..., Any] | None


class ItemsError(DataError):
    """Some items of a batch failed.

    Attributes:
      failures: for each of them its id and its error, in the order of the batch.

    Its cause is an ExceptionGroup of the errors, so that each is shown with its traceback.
    """

    def __init__(self, message: str, failures: Sequence[tuple[Any, Exception]]) -> None:
        super().__init__(message)
        self.failures = tuple(failures)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.failures), self.__dict__


def inbatch_parallel(
    init: Init = "items", post: Post = None, target: str = "threads"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make of a method that handles one item one that handles the batch.

    Args:
      init: what the method is given for each item, before the arguments of the call. "items": its
        `Item`; "indices": its id; the name of a component, or several: its values; the name of a
        method, or a function of the batch: a list with, for each item, a value, a tuple of
        arguments, a dict of keyword arguments, or a pair of both.
      post: what becomes of the results. None: they are left, and the batch is returned. The name
        of a component: they become its values. The name of a method, or a function of the batch:
        called with the list of results; what it returns, or the batch if None, is returned. The
        functions of `init` and `post` get the arguments of the call too.
      target: "threads", "processes", "async" (the method is a coroutine function) or "for", a
        plain loop. In a process the method has the batch without its data: what it needs, `init`
        gives it; and class and values must be such that pickle takes them.

    Raises:
      DefinitionError: if the arguments make no sense.
      ItemsError: (by the method) naming the items that failed; all of them are tried, and the
        results are not used.

    >>> from dovetail.data.batches.batch import Batch
    >>> class Numbers(Batch):
    ...     components = "x"
    ...     @inbatch_parallel(init="x", post="x")
    ...     def add(self, value, amount):
    ...         return value + amount
    >>> Numbers([1, 2], preloaded=[10, 20]).add(5).x.tolist()
    [15, 25]
    """
    if target not in TARGETS:
        raise DefinitionError(
            f"inbatch_parallel's target is one of {', '.join(TARGETS)}; got {target!r}."
            f"{nearest(str(target), TARGETS)}"
        )
    if target == "processes" and init == "items":
        raise DefinitionError(
            "Items are seen through their batch, which does not travel to other processes: with "
            'target="processes" give init="indices", components, or a method.'
        )

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        if (target == "async") != inspect.iscoroutinefunction(method):
            raise DefinitionError(
                f"{method.__qualname__}: target 'async' is for methods defined by `async def`, "
                f"and such methods need it; the target here is '{target}'."
            )

        @functools.wraps(method)
        def run(self: Batch, *args: Any, **kwargs: Any) -> Any:
            calls = _calls(self, init, args, kwargs)
            self.next_draw()  # so that each run has random numbers of its own, on any target
            if target == "processes":
                fn: Any = functools.partial(
                    _in_process, method.__module__, method.__qualname__, self.bare()
                )
            else:
                fn = functools.partial(method, self)
            results = each(fn, calls, self.indices, target, method.__qualname__)
            return _finished(self, post, results, args, kwargs)

        setattr(run, _ONE, method)
        return run

    return decorate


def each(
    fn: Callable[..., Any],
    calls: Sequence[Call],
    ids: np.ndarray,
    target: str = "for",
    what: str | None = None,
) -> list[Any]:
    """Call a function for each item.

    Args:
      fn: the function.
      calls: for each item its arguments and keyword arguments.
      ids: of the items, for messages.
      target: see `inbatch_parallel`.
      what: names the function, for messages.

    Returns:
      the results, in the order of the items.

    Raises:
      ItemsError: after all were tried, if some failed; its cause groups their errors.
      SkipBatch: if a call raised it.
    """
    outcomes = run_all(fn, calls, target)
    failures = [
        (id, outcome.error)
        for id, outcome in zip(ids.tolist(), outcomes, strict=True)
        if isinstance(outcome, Failed)
    ]
    if not failures:
        return outcomes
    for _, error in failures:
        if isinstance(error, SkipBatch):
            raise error
    name = what or getattr(fn, "__qualname__", repr(fn))
    shown = "\n".join(
        f"  {id!r}: {type(error).__name__}: {error}" for id, error in failures[:_SHOWN]
    )
    more = f"\n  and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
    message = f"{name} failed for {len(failures)} of {len(calls)} items:\n{shown}{more}"
    errors = [error for _, error in failures]
    raise ItemsError(message, failures) from ExceptionGroup(f"{name}, by item", errors)


def assembled(results: Sequence[Any]) -> Any:
    """Make one array of results that are arrays or numbers of one shape; else a list of them.

    >>> assembled([np.zeros(2), np.ones(2)]).shape, assembled([np.zeros(2), np.ones(3)])
    ((2, 2), [array([0., 0.]), array([1., 1., 1.])])
    """
    numbers = (np.ndarray, np.generic, int, float, bool)
    if results and all(isinstance(one, numbers) for one in results):
        arrays = [np.asarray(one) for one in results]
        if len({one.shape for one in arrays}) == 1:
            return np.stack(arrays)
    return list(results)


_ONE = "__dovetail_one_item__"
_SHOWN = 5


def _calls(batch: Batch, init: Init, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Call]:
    components = batch.components or ()
    if init == "items":
        given: Any = [((one,), {}) for one in batch]
    elif init == "indices":
        given = [((one,), {}) for one in batch.indices.tolist()]
    elif init == "data" or (isinstance(init, str) and init in components):
        column = batch.column(None if init == "data" else str(init))
        given = [((one,), {}) for one in column]
    elif not isinstance(init, str) and not callable(init):
        columns = [batch.column(name) for name in init]
        given = [(values, {}) for values in zip(*columns, strict=True)]
    else:
        made = _named(batch, init, "init")(*args, **kwargs)
        given = [_as_call(one) for one in made]
        if len(given) != len(batch):
            raise DataError(
                f"init of an inbatch_parallel method of {type(batch).__name__} gave {len(given)} "
                f"values for {len(batch)} items; it is to give one for each."
            )
    return [((*own, *args), {**named, **kwargs}) for own, named in given]


def _as_call(one: Any) -> Call:
    if isinstance(one, tuple):
        pair = len(one) == 2 and isinstance(one[0], tuple) and isinstance(one[1], dict)
        return (one[0], one[1]) if pair else (one, {})
    return ((), one) if isinstance(one, dict) else ((one,), {})


def _finished(
    batch: Batch, post: Post, results: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if post is None:
        return batch
    if isinstance(post, str) and post in (batch.components or ()):
        setattr(batch, post, assembled(results))
        return batch
    if post == "data" and not batch.components:
        batch.data = assembled(results)
        return batch
    made = _named(batch, post, "post")(results, *args, **kwargs)
    return batch if made is None else made


def _named(batch: Batch, name: Any, role: str) -> Callable[..., Any]:
    """The method or function that `init` or `post` means."""
    if callable(name):
        return functools.partial(name, batch)
    method = getattr(type(batch), str(name), None)
    if not callable(method):
        known = [*(batch.components or ()), *(n for n in dir(type(batch)) if n[0] != "_")]
        raise DataError(
            f"inbatch_parallel's {role} is '{name}', and {type(batch).__name__} has neither a "
            f"component nor a method of that name.{nearest(str(name), known)}"
        )
    return functools.partial(method, batch)


def _in_process(module: str, qualname: str, batch: Batch, *args: Any, **kwargs: Any) -> Any:
    """In a worker process: find the method by its place, and run it for one item."""
    found: Any = __import__(module, fromlist=["_"])
    for name in qualname.split("."):
        found = getattr(found, name)
    return getattr(found, _ONE)(batch, *args, **kwargs)

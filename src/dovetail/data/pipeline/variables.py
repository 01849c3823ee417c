"""The variables of a pipeline: values that its actions share."""

from __future__ import annotations

import copy
import reprlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dovetail.errors import ParamsError, nearest

_CONTAINERS = (list, dict, set, bytearray)
_MODES = ("set", "append", "extend", "update", "add")


@dataclass(frozen=True, eq=False)
class Declared:
    """How a variable begins.

    Attributes:
      default: its first value. A list, dict or set is copied for each pipeline; any other object
        is shared by all pipelines that are made from one template.
      init: makes the first value anew for each pipeline.
    """

    default: Any = None
    init: Callable[[], Any] | None = None

    def __post_init__(self) -> None:
        if self.init is not None and not callable(self.init):
            raise ParamsError(
                f"init is a function without arguments that makes the value; got {self.init!r}. "
                "Give a value itself as init_variable(name, value)."
            )
        if self.init is not None and self.default is not None:
            raise ParamsError("A variable begins with a default or with what init makes, not both.")

    def __str__(self) -> str:
        return reprlib.repr(self.default) if self.init is None else f"init={self.init!r}"

    def begins_as(self, other: Declared) -> bool:
        """Say whether another begins with the same value, as far as can be told."""
        if self is other or (self.init is not None and self.init is other.init):
            return True
        if self.init is not None or other.init is not None:
            return False
        one, two = self.default, other.default
        if one is two or type(one) is not type(two):
            return one is two
        try:
            return np.array_equal(one, two) if isinstance(one, np.ndarray) else bool(one == two)
        except Exception:  # a comparison of someone else's objects
            return False

    def first(self) -> Any:
        """Give the value that a pipeline begins with."""
        if self.init is not None:
            return self.init()
        return (
            copy.deepcopy(self.default) if isinstance(self.default, _CONTAINERS) else self.default
        )


class Variables:
    """The variables of one pipeline; any thread may read and write them.

    >>> variables = Variables({"losses": Declared([])})
    >>> variables.change("losses", 0.5, "append")
    >>> variables["losses"]
    [0.5]
    """

    def __init__(self, declared: Mapping[str, Declared]) -> None:
        self._lock = threading.RLock()
        self._values = {name: one.first() for name, one in declared.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._values))

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise self._unknown(name) from None

    def __setitem__(self, name: str, value: Any) -> None:
        with self._lock:
            self._values[name] = value

    def __delitem__(self, name: str) -> None:
        with self._lock:
            if name not in self._values:
                raise self._unknown(name)
            del self._values[name]

    def get(self, name: str, default: Any, init: Callable[[], Any] | None) -> Any:
        """Give a variable; one that is not there begins with `default`, or with what init makes."""
        with self._lock:
            if name not in self._values:
                self._values[name] = Declared(default, init).first()
            return self._values[name]

    def change(self, name: str, value: Any, mode: str) -> None:
        """Write a variable as a whole, or into it: see `Pipeline.update_variable`."""
        with self._lock:
            if mode == "set":
                self._values[name] = value
                return
            held = self[name]
            if mode == "add":
                self._values[name] = value if held is None else held + value
                return
            try:
                getattr(held, mode)(value)
            except AttributeError:
                raise ParamsError(
                    f"The variable '{name}' is a {type(held).__name__}, which has no '{mode}'. "
                    f"Begin it with a {'dict' if mode == 'update' else 'list'}: "
                    f"init_variable('{name}', {'{}' if mode == 'update' else '[]'})."
                ) from None

    def _unknown(self, name: str) -> ParamsError:
        known = ", ".join(map(str, self._values)) or "none"
        return ParamsError(
            f"The pipeline has no variable '{name}'.{nearest(str(name), map(str, self._values))} "
            f"It has: {known}. Declare it with init_variable('{name}', value)."
        )


def checked_mode(mode: str) -> str:
    """Return how a variable is to be written, or raise ParamsError."""
    if mode not in _MODES:
        raise ParamsError(
            f"mode={mode!r}: a variable is written by one of {', '.join(_MODES)}."
            f"{nearest(str(mode), _MODES)}"
        )
    return mode

"""Checks of what a hook is given, with the hook's name in every message."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

from dovetail.errors import ParamsError


def whole(hook: str, name: str, value: Any, least: int) -> int:
    """Return a whole number that is at least `least`.

    Raises:
      ParamsError: it is another type or smaller; hook and argument are named.

    >>> whole("Log", "every_steps", 10, 1)
    10
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ParamsError(
            f"hooks.{hook}: {name} must be a whole number; it is {value!r}, a "
            f"{type(value).__name__}."
        )
    if value < least:
        raise ParamsError(f"hooks.{hook}: {name}={value}; it must be at least {least}.")
    return int(value)


def positive(hook: str, name: str, value: Any, unit: str, *, or_zero: bool = False) -> float:
    """Return a finite number above zero, such as seconds.

    Raises:
      ParamsError: it is another type, not finite, or too small; hook and argument are named.

    >>> positive("StopAfter", "hours", 2, "hours")
    2.0
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ParamsError(
            f"hooks.{hook}: {name} must be a number of {unit}; it is {value!r}, a "
            f"{type(value).__name__}."
        )
    number = float(value)
    if not math.isfinite(number) or number < 0 or (number == 0 and not or_zero):
        bound = "at least" if or_zero else "more than"
        raise ParamsError(f"hooks.{hook}: {name}={value}; it must be {bound} 0 {unit}.")
    return number


def texts(hook: str, name: str, value: Iterable[str] | str | None) -> tuple[str, ...] | None:
    """Return names as a tuple; one name may be given as it is, and None stays None.

    Raises:
      ParamsError: there is none, or one is no text; hook and argument are named.

    >>> texts("Log", "names", "loss")
    ('loss',)
    """
    if value is None:
        return None
    taken: Sequence[Any] = (
        (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else ()
    )
    if not taken or not all(isinstance(one, str) and one for one in taken):
        raise ParamsError(
            f"hooks.{hook}: {name} must be a name or a list of names; it is {value!r}."
        )
    return tuple(dict.fromkeys(taken))

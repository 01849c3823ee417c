"""Values of hyperparameters: when one may replace another, read from text, and made plain."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from dovetail.errors import ParamsError, a_kind

_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, type)
_SCALARS = (bool, int, float, str)
_WORDS = {"true": True, "yes": True, "on": True, "1": True}
_WORDS |= {"false": False, "no": False, "off": False, "0": False}


def fit(existing: Any, value: Any, key: str) -> Any:
    """Return `value` as what is to stand in the place of `existing`.

    Args:
      existing: the value there is; its type is what is expected. None accepts anything.
      value: the value to come. None is always accepted; an int becomes a float where one is
        expected; the saved name of a function that is there already stands for that function.
      key: the full name, for the message.

    Raises:
      ParamsError: the value is of another type.

    >>> fit(0.5, 1, "learning_rate")
    1.0
    """
    if existing is None or value is None:
        return value
    if isinstance(existing, bool) or isinstance(value, bool):
        if isinstance(existing, bool) and isinstance(value, bool):
            return value
    elif isinstance(existing, float):
        if isinstance(value, (int, float)):
            return float(value)
    elif isinstance(existing, (int, str)):
        if isinstance(value, int if isinstance(existing, int) else str):
            return value
    elif isinstance(existing, (list, tuple)):
        if isinstance(value, (list, tuple)):
            return type(existing)(_fit_items(existing, value, key))
    elif isinstance(existing, Mapping):
        if isinstance(value, Mapping):
            return _restored(existing, value)
    elif callable(existing):
        if callable(value):
            return value
        if value == function_name(existing):
            return existing
    elif isinstance(existing, os.PathLike) and isinstance(value, str):
        return type(existing)(value)  # pyright: ignore[reportCallIssue] (paths are made of text)
    elif isinstance(value, type(existing)):
        return value
    raise _mismatch(existing, value, key)


def read(existing: Any, text: str, key: str) -> Any:
    """Return the value that a text stands for in the place of `existing`.

    Args:
      existing: the value there is; the text is read as its type.
      text: such as `0.1`, `true`, `null`, `[1, 2]`, or a string with or without quotes.
      key: the full name, for the message.

    Raises:
      ParamsError: the text is no value of that type.

    >>> read(1.0, "1e-3", "learning_rate"), read([1], "[2, 3]", "sizes"), read("a", "7", "name")
    (0.001, [2, 3], '7')
    """
    text = text.strip()
    if isinstance(existing, str):
        quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\""
        return text[1:-1] if quoted else text
    if text.lower() in ("null", "none", "~"):
        return None
    try:
        if isinstance(existing, bool):
            return _WORDS[text.lower()]
        if isinstance(existing, int):
            return _whole(text)
        if isinstance(existing, float):
            return float(text)
    except (KeyError, ValueError):
        kind = "a whole number" if isinstance(existing, int) else "a number"
        kind = "true or false" if isinstance(existing, bool) else kind
        raise ParamsError(
            f"'{key}': expected {a_kind(existing)} such as {existing!r}, but {text!r} arrived. "
            f"Write {kind}."
        ) from None
    if callable(existing) or isinstance(existing, os.PathLike):
        return fit(existing, text, key)
    from dovetail.definition.hparam_files import parse_yaml

    value = parse_yaml(text, f"The value of '{key}'")
    # `[a, b]` on a command line is often meant as text even where an item looks like a number.
    texts = isinstance(existing, (list, tuple)) and {type(item) for item in existing} == {str}
    if texts and isinstance(value, list):
        parts = [part.strip() for part in text[1:-1].split(",")]
        value = [read("", part, key) for part in parts] if len(parts) == len(value) else value
    return fit(existing, value, key)


def plain(value: Any) -> Any:
    """Return a value as YAML and JSON have them: functions by name, tuples as lists.

    >>> plain({"activation": print, "size": (3, 3)})
    {'activation': 'builtins:print', 'size': [3, 3]}
    """
    if isinstance(value, Enum):
        return plain(value.value)
    for scalar in _SCALARS:
        if isinstance(value, scalar):
            return scalar(value)
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {_plain_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, _FUNCTIONS):
        return function_name(value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return plain(value.item())
    # The default repr holds an address, which differs in each run.
    if type(value).__repr__ is object.__repr__ or callable(value):
        return function_name(value)
    return repr(value)


def function_name(value: Any) -> str:
    """Return `module:name` of a function or class; of another object, that of its class.

    >>> function_name(plain)
    'dovetail.definition.hparam_values:plain'
    """
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', None) or 'builtins'}:{named.__qualname__}"


def own(value: Any) -> Any:
    """Return a copy of plain containers, to any depth; other objects are shared."""
    if isinstance(value, Mapping):
        return {key: own(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(own(item) for item in value)
    return value


def _fit_items(existing: list[Any] | tuple[Any, ...], value: Any, key: str) -> list[Any]:
    items = [_restored(old, new) for old, new in zip(existing, value, strict=False)]
    items += value[len(items) :]
    kinds = {type(item) for item in existing}
    if len(kinds) == 1 and kinds <= set(_SCALARS):
        return [fit(existing[0], item, f"{key}[{i}]") for i, item in enumerate(items)]
    if kinds == {int, float}:
        return [fit(0.0, item, f"{key}[{i}]") for i, item in enumerate(items)]
    return items


def _restored(existing: Any, value: Any) -> Any:
    """Put functions back in the places where a saved value has just their names."""
    if isinstance(existing, Mapping) and isinstance(value, Mapping):
        return {k: _restored(existing[k], v) if k in existing else v for k, v in value.items()}
    if isinstance(existing, (list, tuple)) and isinstance(value, (list, tuple)):
        pairs = [_restored(old, new) for old, new in zip(existing, value, strict=False)]
        return type(value)([*pairs, *value[len(pairs) :]])
    if isinstance(value, str) and callable(existing) and value == function_name(existing):
        return existing
    return value


def _plain_key(key: Any) -> Any:
    key = plain(key)
    return key if isinstance(key, (*_SCALARS, type(None))) else str(key)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise ValueError(text) from None
        return int(number)


def _mismatch(existing: Any, value: Any, key: str) -> ParamsError:
    if isinstance(existing, Mapping):
        expected, cure = "a section", f"Set its keys one by one: {', '.join(map(str, existing))}."
    elif isinstance(existing, (list, tuple)):
        expected, cure = a_kind(existing), "Write it as [a, b]."
    elif callable(existing):
        expected = f"a function such as {function_name(existing)}"
        cure = "Functions are set in the definition's own Python, never from text."
    else:
        expected, cure = f"{a_kind(existing)} such as {existing!r}", "Give a value of that type."
        if isinstance(existing, str):
            cure = "Put the value in quotes."
        elif isinstance(existing, bool):
            cure = "Write true or false."
        elif isinstance(existing, (int, float)) and isinstance(value, str):
            cure = "Write a number without quotes."
    return ParamsError(
        f"'{key}': expected {expected}, but {value!r} ({type(value).__name__}) arrived. {cure}"
    )

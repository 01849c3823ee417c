"""What tells a definition's code from other code: its files' checksums, or its functions'."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

from dovetail.definition.definition import Definition
from dovetail.definition.signature import Matched

_PACKAGE = f"{Path(__file__).resolve().parents[1]}{os.sep}"
_DEPTH = 6  # of wrappers between a definition and the user's function


def code_of(definition: Definition, functions: Sequence[Any] = ()) -> dict[str, str]:
    """Return the SHA-256 of everything that a definition is written in.

    Args:
      definition: its files count whole; of one without a file (written in a notebook, or made by
        a function elsewhere) the functions do.
      functions: others that belong to the run, such as its input_fn.

    Returns:
      file, relative to the definition's own folder, or "function NAME" -> SHA-256, hexadecimal.

    >>> from dovetail.definition.definition import load
    >>> def model_fn(features, labels, mode): ...
    >>> list(code_of(load(model_fn)))
    ['function model_fn']
    """
    code: dict[str, str] = {}
    files = definition.files
    root = os.path.realpath(files[0].parent) if files else ""
    for file in files:
        name = Path(os.path.relpath(os.path.realpath(file), root)).as_posix()
        try:
            code[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            code[name] = f"unread: {error.strerror}"
    inside = {os.path.realpath(file) for file in files}
    parts = (definition.fresh, definition.input_fn, definition.preprocess, *functions)
    for function in dict.fromkeys(f for part in parts for f in _written_by_the_user(part)):
        if os.path.realpath(function.__code__.co_filename) not in inside:
            code[f"function {function.__qualname__.removeprefix('<locals>.')}"] = digest(function)
    return code


def digest(function: FunctionType) -> str:
    """Return the SHA-256 of a function's text, or of its compiled code where there is no text.

    >>> digest(lambda: 1) == digest(lambda: 2)
    False
    """
    try:
        said = inspect.getsource(function)
    except (OSError, TypeError, IndexError):
        said = ""
    if not said or function.__name__ == "<lambda>":  # a line may hold several of them
        said += _compiled(function.__code__)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


def _compiled(code: CodeType) -> str:
    inner = [_compiled(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    return repr((code.co_code.hex(), code.co_names, inner))


def _constant(value: object) -> str:
    # The order of a set of texts is another in each process.
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _written_by_the_user(value: Any, depth: int = _DEPTH) -> Iterator[FunctionType]:
    """Yield the user's function inside wrappers, of ours and of functools."""
    if value is None or depth == 0:
        return
    if isinstance(value, Matched):
        yield from _written_by_the_user(value.function, depth - 1)
    elif isinstance(value, functools.partial):
        yield from _written_by_the_user(value.func, depth - 1)
    elif isinstance(value, MethodType):
        yield from _written_by_the_user(value.__func__, depth - 1)
    elif isinstance(value, FunctionType):
        if not os.path.realpath(value.__code__.co_filename).startswith(_PACKAGE):
            yield value
            return
        for cell in value.__closure__ or ():
            try:
                yield from _written_by_the_user(cell.cell_contents, depth - 1)
            except ValueError:  # an empty cell
                continue
    elif callable(value) and not isinstance(value, type):
        yield from _written_by_the_user(vars(type(value)).get("__call__"), depth - 1)


def described(value: Any) -> str:
    """Describe a frozen value, such as an optimizer, alike in every process.

    >>> from dovetail.definition import optimizers
    >>> described(optimizers.SGD(optimizers.schedules.Constant(0.5)))
    'SGD(learning_rate=Constant(learning_rate=0.5))'
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = []
        for field in dataclasses.fields(value):
            held = getattr(value, field.name)
            default = field.default
            if default is dataclasses.MISSING or not _same(held, default):
                shown.append(f"{field.name}={described(held)}")
        return f"{type(value).__name__}({', '.join(shown)})"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(described, value))})"
    if isinstance(value, (FunctionType, MethodType)):
        function: Callable[..., Any] = getattr(value, "__func__", value)
        text = digest(function)[:8] if isinstance(function, FunctionType) else ""
        return f"{value.__module__}:{value.__qualname__} {text}".strip()
    if isinstance(value, type):
        return f"{value.__module__}:{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and repr(one) == repr(other))

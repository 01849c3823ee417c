"""What tells one job of `prepare` from another: hashes of its reader, settings and files."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
import pickle
import sys
import uuid
from collections.abc import Iterable, Mapping
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import pyarrow as pa

# What else the bytes of the records, or the meaning of a journal, depend on.
_UNLIKE = "unlike any other"
_MAKERS = (
    f"journal 1, python {sys.version_info[:2]}, numpy {np.__version__}, arrow {pa.__version__}"
)


def job_identity(reader: Any, schema: object, settings: Mapping[str, Any]) -> dict[str, str]:
    """Give a hash of each part of a job but its files; equal jobs get equal rows from a file.

    Args:
      reader: what reads them: its type's source file and its values, or a function's code.
        One that knows better has `identity`, a text. One that can't be told from others is
        another each time.
      schema: of the rows, in its printed form.
      settings: everything else that the records depend on.
    """
    return {
        "the reader": _hash(_safely(reader)),
        "the schema": _hash(str(schema)),
        "metadata or settings": _hash(json.dumps(settings, sort_keys=True, default=repr)),
        "versions": _hash(_MAKERS),
    }


def job_identity_in_all(reader: Any, schema: object, settings: Mapping[str, Any]) -> str | None:
    """Give one hash of a job but for its files and versions; None if it can't be known again.

    Args:
      reader, schema, settings: as for `job_identity`.
    """
    own = _safely(reader)
    if own.startswith(_UNLIKE):
        return None
    return _hash(f"{own} {schema} {json.dumps(settings, sort_keys=True, default=repr)}")


def file_chain(names: Iterable[str]) -> list[str]:
    """Give, for each number of files from 0 on, a hash of the first so many.

    Args:
      names: of the files; their sizes and times of change count too.

    >>> len(file_chain(["a.png", "b.png"])), file_chain(["a"])[0] == file_chain(["b"])[0]
    (3, True)
    """
    chain = [""]
    for name in names:
        chain.append(_hash(f"{chain[-1]} {json.dumps(_status(name))}"))
    return chain


def reader_identity(value: Any) -> str:
    """Describe a reader, or a value in it, so that a changed one is described otherwise.

    >>> reader_identity(len) == reader_identity(len), reader_identity(3) == reader_identity("3")
    (True, False)
    """
    own = getattr(value, "identity", None)
    if isinstance(own, str):
        return f"{_name(type(value))}: {own}"
    if isinstance(value, str | bytes | int | float | bool | None):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(reader_identity, value))})"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(reader_identity, value)))}}}"
    if isinstance(value, Mapping):
        items = [f"{key!r}: {reader_identity(item)}" for key, item in value.items()]
        return f"{_name(type(value))}({', '.join(items)})"
    if isinstance(value, MethodType):
        return f"{reader_identity(value.__func__)} of {reader_identity(value.__self__)}"
    if isinstance(value, FunctionType):
        closed = [reader_identity(cell.cell_contents) for cell in value.__closure__ or ()]
        code = _hash(value.__code__.co_code.hex() + repr(_constants(value.__code__)))
        return f"{_name(value)} {code} {_source(value)} {closed} {value.__defaults__!r}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return f"{_name(type(value))} {_source(type(value))} {reader_identity(fields)}"
    if isinstance(value, type) or inspect.isbuiltin(value):
        return f"{_name(value)} {_source(value)}"
    return f"{_name(type(value))} {_source(type(value))} {_hash(pickle.dumps(value).hex())}"


def _safely(reader: Any) -> str:
    try:
        return reader_identity(reader)
    except Exception:  # it holds itself, or what pickle can't take; that may raise anything
        return f"{_UNLIKE}: {uuid.uuid4()}"


def _constants(code: Any) -> list[Any]:
    """A function's constants and names; those of functions within it, not where they lie."""
    inner = [
        _constants(one) if hasattr(one, "co_code") else reader_identity(one)
        for one in code.co_consts
    ]
    return [inner, code.co_names]


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def _source(value: Any) -> str:
    """A hash of the file that a type or function is written in; its helpers are mostly there."""
    file = getattr(sys.modules.get(getattr(value, "__module__", "")), "__file__", None)
    try:
        with open(file or "", "rb") as content:
            return _hash(content.read().hex())
    except OSError:
        return "no file"


def _status(name: str) -> list[Any]:
    try:
        status = os.stat(name)
    except OSError:  # a link that leads nowhere; reading it is what fails
        return [name]
    return [name, status.st_size, status.st_mtime_ns]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

"""Which files the patterns that a user gave stand for, in one fixed order."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from dovetail.errors import DataError

_MAGIC = re.compile(r"[*?[]")
_NUMBER = re.compile(r"([0-9]+)")


def find_files(patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the files that one or more patterns match, each once, in natural order.

    `*`, `?` and `[a-z]` match within one folder name, `**` any number of folders, as in Python's
    `glob`; names that begin with a dot match only a pattern that begins with one. Unlike `glob`,
    a folder that may not be read is an error, not a folder without files. In natural order
    `img2.png` comes before `img10.png`; the patterns' order and spelling do not matter.

    Args:
      patterns: one pattern or path, or several.

    Returns:
      File names with forward slashes, each beginning as its pattern does.

    Raises:
      DataError: a pattern matches no file, or a folder cannot be read.

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ["img10.png", "img2.png", "notes.txt"]:
    ...     _ = (folder / name).write_bytes(b"")
    >>> [pathlib.Path(name).name for name in find_files(f"{folder}/*.png")]
    ['img2.png', 'img10.png']
    """
    if isinstance(patterns, str | os.PathLike):
        patterns = [patterns]
    found: dict[str, str] = {}  # the whole path -> the name as the user wrote it
    here = os.getcwd()
    given = [os.path.expanduser(os.fspath(pattern)) for pattern in patterns]
    if not given:
        raise DataError("No files to prepare: give at least one file or pattern.")
    for pattern in given:
        names = list(_matches(pattern))
        if not names:
            raise DataError(_nothing(pattern))
        for name in names:
            # PurePath drops "." and doubled slashes but keeps "..", which a link may lead astray.
            found.setdefault(str(PurePath(here, name)), name.replace(os.sep, "/"))
    return [found[path] for path in sorted(found, key=natural)]


def natural(path: str) -> tuple[list[tuple[tuple[int, int, str], ...]], str]:
    """Give what paths are sorted by, for "img2" to come before "img10"."""
    parts = []
    for part in path.split(os.sep):
        pieces = [piece for piece in _NUMBER.split(part) if piece]
        parts.append(tuple((0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in pieces))
    return parts, path  # the path itself settles ties such as 7 and 07


def _nothing(pattern: str) -> str:
    if os.path.isdir(pattern):
        inside = os.path.join(pattern, "**", "*")
        return f"'{pattern}' is a folder. Give a pattern for the files in it, such as '{inside}'."
    if not _MAGIC.search(pattern):
        return f"There is no file '{pattern}' (looked from {os.getcwd()})."
    fixed = _MAGIC.split(pattern, maxsplit=1)[0].rpartition(os.sep)[0]
    there = not fixed or os.path.isdir(fixed)
    why = "" if there else f" There is no folder '{fixed}'."
    return (
        f"The pattern '{pattern}' matches no file (looked from {os.getcwd()}).{why} "
        "Check the folder and the ending; '**' stands for any number of folders."
    )


def _matches(pattern: str) -> Iterator[str]:
    if os.path.isfile(pattern):  # a name may itself hold brackets
        yield pattern
        return
    root = os.sep if pattern.startswith(os.sep) else ""
    parts = [part for part in pattern.split(os.sep) if part]
    if parts and not pattern.endswith(os.sep):
        for name in _walk(root, parts, above=frozenset()):
            # A link that leads nowhere is kept: reading it fails by name, which beats losing it.
            if os.path.isfile(name) or (os.path.islink(name) and not os.path.exists(name)):
                yield name


def _walk(folder: str, parts: list[str], above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Yield the paths below `folder` that the parts of a pattern match.

    `above` identifies the folders already entered for a `**`, so that a link to one of them is
    not followed for ever.
    """
    first, rest = parts[0], parts[1:]
    if first == "**":
        if rest:
            yield from _walk(folder, rest, above)
        status = os.stat(folder or ".")
        above = above | {(status.st_dev, status.st_ino)}
        for entry in _entries(folder):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                inner = entry.stat()
                if (inner.st_dev, inner.st_ino) not in above:
                    yield from _walk(os.path.join(folder, entry.name), parts, above)
            elif not rest:
                yield os.path.join(folder, entry.name)
    elif _MAGIC.search(first):
        matches = re.compile(fnmatch.translate(first)).match
        for entry in _entries(folder):
            if entry.name.startswith(".") and not first.startswith("."):
                continue
            if matches(entry.name) and (not rest or entry.is_dir()):
                name = os.path.join(folder, entry.name)
                yield from _walk(name, rest, above) if rest else [name]
    elif os.path.lexists(name := os.path.join(folder, first)):
        if not rest:
            yield name
        elif os.path.isdir(name):
            yield from _walk(name, rest, above)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder or ".") as entries:
            return list(entries)
    except OSError as error:
        raise DataError(
            f"The folder '{folder or '.'}' cannot be read ({error.strerror}), so files may be "
            "missed. Give yourself permission to read it, or leave it out of the pattern."
        ) from error

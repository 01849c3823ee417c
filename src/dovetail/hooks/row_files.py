"""Files of one row for each logged step: CSV and JSON lines, rewound where a run resumes."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
from pathlib import Path
from typing import Any, Protocol

from dovetail.errors import DataError, StorageError

Row = dict[str, Any]


class RowFile(Protocol):
    """Rows on disk, the oldest first; each has a `step`."""

    def rewind(self, path: Path, step: int) -> list[Row]:
        """Drop rows of later steps and a row that was cut short; return those of `step`."""
        ...

    def append(self, path: Path, row: Row) -> None:
        """Write a row at the end."""
        ...


class JsonLines:
    """One JSON object a line; what is not finite is null, which is what JSON has for it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file, path = JsonLines(), Path(folder, "log.jsonl")
    ...     for step in (1, 2, 3):
    ...         file.append(path, {"step": step, "loss": math.nan})
    ...     file.rewind(path, 2), path.read_text().splitlines()[-1]
    ([{'step': 2, 'loss': None}], '{"step": 2, "loss": null}')
    """

    def rewind(self, path: Path, step: int) -> list[Row]:
        kept, rows, dropped = [], [], False
        for line in _lines(path):
            row = self._row(line, path) if line.endswith("\n") else None
            if row is None or row["step"] > step:
                dropped = True
                continue
            kept.append(line)
            if row["step"] == step:
                rows.append(row)
        if dropped:
            _replace(path, "".join(kept))
        return rows

    def append(self, path: Path, row: Row) -> None:
        finite = {k: None if _is_not_finite(v) else v for k, v in row.items()}
        _append(path, json.dumps(finite, ensure_ascii=False, allow_nan=False) + "\n")

    def _row(self, line: str, path: Path) -> Row:
        try:
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                return row
        except ValueError:
            pass
        raise _foreign(path, line, "a JSON object with a whole number 'step'")


class Csv:
    """Comma-separated values under a header; a row with a new column rewrites the header.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file, path = Csv(), Path(folder, "log.csv")
    ...     file.append(path, {"step": 1, "loss": 0.5})
    ...     file.append(path, {"step": 2, "loss": math.nan, "accuracy": 1.0})
    ...     path.read_text().splitlines()
    ['step,loss,accuracy', '1,0.5,', '2,nan,1.0']
    """

    def __init__(self) -> None:
        self._columns: list[str] | None = None

    def rewind(self, path: Path, step: int) -> list[Row]:
        self._columns = None
        text = "".join(line for line in _lines(path) if line.endswith("\n"))
        table = list(csv.reader(io.StringIO(text)))
        if not table:
            if path.exists():
                _replace(path, "")
            return []
        columns, kept, rows = table[0], [], []
        if "step" not in columns:
            raise _foreign(path, ",".join(columns), "a header with 'step'")
        place = columns.index("step")
        for cells in table[1:]:
            if len(cells) != len(columns) or not cells[place].isdigit():
                raise _foreign(path, ",".join(cells), f"a row under {','.join(columns)}")
            if int(cells[place]) <= step:
                kept.append(cells)
            if int(cells[place]) == step:
                named = zip(columns, cells, strict=True)
                rows.append({name: cell for name, cell in named if cell != ""})
        self._columns = columns
        if len(kept) < len(table) - 1 or text != "".join(_lines(path)):
            _replace(path, _text([columns, *kept]))
        return rows

    def append(self, path: Path, row: Row) -> None:
        if self._columns is None or not path.exists():  # it is new, or was moved away
            _append(path, _text([list(row), list(row.values())]))
            self._columns = list(row)
            return
        new = [name for name in row if name not in self._columns]
        if new:
            self._widen(path, new)
        _append(path, _text([[row.get(name, "") for name in self._columns]]))

    def _widen(self, path: Path, new: list[str]) -> None:
        assert self._columns is not None
        columns, empty = [*self._columns, *new], [""] * len(new)
        table = list(csv.reader(io.StringIO("".join(_lines(path)))))
        _replace(path, _text([columns, *([*cells, *empty] for cells in table[1:])]))
        self._columns = columns


def _text(table: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            return file.readlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise _foreign(path, str(error), "UTF-8 text") from error
    except OSError as error:
        raise _unwritten(path, error) from error


def _append(path: Path, text: str) -> None:
    """Write at the end in one call, so that a kill leaves at most one row cut short."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            size, content = file.tell(), text.encode()
            try:
                if file.write(content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(size)  # what fitted on a full disk is no whole row
                raise
    except OSError as error:
        raise _unwritten(path, error) from error


def _replace(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_bytes(text.encode())
        os.replace(aside, path)
    except OSError as error:
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"Can't keep the log {path}: {error}. Check its path and permissions, and the disk."
    )


def _foreign(path: Path, found: str, expected: str) -> DataError:
    return DataError(
        f"{path} is no log of an earlier part of this run: expected {expected}, found "
        f"{found.strip()[:80]!r}. Move the file away, or give the hook another path."
    )

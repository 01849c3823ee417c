"""Files that could not be read: how many are put up with, and the report of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from dovetail.errors import DataError

REPORT = "failed.jsonl"  # beside the manifest, where there is one to report


class Failure(NamedTuple):
    """A file that gave no rows, since reading it failed.

    Attributes:
      file: its name, as the reader was given it.
      reason: what a run that stops there would have said.
    """

    file: str
    reason: str


def allowed_failures(on_error: str | int) -> int | None:
    """Give how many files may fail: 0 for "stop", None (any number) for "skip", or the number.

    Raises:
      DataError: it is none of these.

    >>> allowed_failures("stop"), allowed_failures("skip"), allowed_failures("12")
    (0, None, 12)
    """
    if on_error == "stop":
        return 0
    if on_error == "skip":
        return None
    try:
        number = -1 if isinstance(on_error, bool | float) else int(on_error)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise DataError(
            'on_error must be "stop", "skip", or how many files may fail (0 or more); got '
            f"{on_error!r}."
        )
    return number


def write_failures(folder: Path, failures: list[Failure]) -> None:
    """Write the report, one JSON object a line, in the order of the files; none for none."""
    if failures:
        lines = [json.dumps(one._asdict(), ensure_ascii=False) + "\n" for one in failures]
        with (folder / REPORT).open("wb") as file:
            # A file's name may hold bytes that are no text; what stands for them is escaped.
            file.write("".join(lines).encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())


def read_failures(folder: str | Path) -> list[Failure]:
    """Read the report of the files that gave no rows to some records.

    Args:
      folder: of the records.

    Returns:
      the failures in the order of the files; none where every file was read.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_failures(folder, [Failure("a.png", "a.png: the image cannot be read.")])
    >>> read_failures(folder)[0].file
    'a.png'
    """
    path = Path(folder) / REPORT
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [Failure(**json.loads(line)) for line in lines]

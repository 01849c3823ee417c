"""Files that could not be read: how many are put up with, and the report of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dovetail.data.manifest import NAME, read_manifest
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


def check_failures(failures: Mapping[int, Failure], allowed: int | None) -> None:
    """Raise where more files failed than are put up with.

    Args:
      failures: by the files' places.
      allowed: see `allowed_failures`.

    Raises:
      DataError: naming the last of them.
    """
    if allowed is None or len(failures) <= allowed:
        return
    reasons = [failures[index].reason for index in sorted(failures)]
    if not allowed:
        raise DataError(reasons[0])
    raise DataError(
        f"{len(reasons)} files failed, which is more than the {allowed} that on_error allows. "
        "The last of them:\n" + "\n".join(f"  {reason}" for reason in reasons[-5:])
    )


def nothing_stored(names: Sequence[str], failures: Mapping[int, Failure]) -> str:
    """Say that no file gave a row.

    >>> nothing_stored(["a.csv"], {})
    "None of the 1 files gave a row, so there is nothing to store. The first is 'a.csv'."
    """
    first = f"The first is '{names[0]}'."
    if failures:
        first = f"{len(failures)} failed, the first so: {failures[min(failures)].reason}"
    return f"None of the {len(names)} files gave a row, so there is nothing to store. {first}"


def report_name(shard: int) -> str:
    """Give the name of the report on the files whose rows would have come from a shard on.

    >>> report_name(0), report_name(12)
    ('failed.jsonl', 'failed-00012.jsonl')
    """
    return f"failed-{shard:05d}.jsonl" if shard else REPORT


def write_failures(folder: Path, failures: list[Failure], shard: int = 0) -> None:
    """Write the report, one JSON object a line, in the order of the files; none for none.

    Args:
      folder: to write in.
      failures: what to report.
      shard: the first that these files' rows might be in; above 0 where they were to be added.
    """
    if failures:
        lines = [json.dumps(one._asdict(), ensure_ascii=False) + "\n" for one in failures]
        with (folder / report_name(shard)).open("wb") as file:
            # A file's name may hold bytes that are no text; what stands for them is escaped.
            file.write("".join(lines).encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())


def read_failures(folder: str | Path) -> list[Failure]:
    """Read the reports of the files that gave no rows to some records.

    Args:
      folder: of the records.

    Returns:
      the failures in the order of the files, those of additions last; none where every file was
      read.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_failures(folder, [Failure("a.png", "a.png: the image cannot be read.")])
    >>> read_failures(folder)[0].file
    'a.png'
    """
    found: list[Failure] = []
    for path in reports(folder):
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        found += [Failure(**json.loads(line)) for line in lines]
    return found


def reports(folder: str | Path) -> list[Path]:
    """Give the reports that some records have, in order.

    Args:
      folder: of the records.
    """
    place = Path(folder)
    added = read_manifest(place).additions if (place / NAME).exists() else ()
    paths = [place / report_name(shard) for shard in [0, *(one.shard for one in added)]]
    return [path for path in dict.fromkeys(paths) if path.exists()]

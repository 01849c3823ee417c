"""Turn a user's files into records: found, read, checked against the schema, and stored whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.data.crew import (
    can_travel,
    read_in_processes,
    refuse_in_starting_process,
    usual_workers,
)
from dovetail.data.files import find_files
from dovetail.data.manifest import NAME as MANIFEST
from dovetail.data.reading import Job, Part, Read, read_here
from dovetail.data.record_writer import RecordWriter
from dovetail.data.schema import Schema
from dovetail.errors import DataError

if TYPE_CHECKING:
    from dovetail.data.records import Records

# Starting processes, each of which may import torch, takes a few seconds: it pays where reading
# the files that are left would take longer than this many.
_PATIENCE = 10.0


def prepare(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    schema: Schema | Iterable[Mapping[str, Any]],
    read: Read,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Records:
    """Read files into records, in natural order of their names, with one or several processes.

    The records' bytes are the same for any number of processes: `read` starts each file with
    Python's, NumPy's and torch's global random generators seeded by the file's place. The output
    appears when it is whole and not before; what a killed run leaves is a hidden folder beside
    it that the next run clears away.

    Args:
      files: patterns and paths; `**` stands for any number of folders (see `find_files`).
      output: folder of the records. It may exist only if it is empty, or with `overwrite`.
      schema: of every row; what data_schema() returns will do.
      read: called with one file name (forward slashes), as prepare_data_for_a_single_file is;
        returns a row (a tuple in the schema's order, or a dict by name), or an iterator or list
        of them. It may have `for_files(names)`, which returns the reader to use for them, and
        `metadata`, a dict to keep; see `ImageFolder`. Other processes get it pickled.
      workers: processes that read. 1 reads in this process. None begins in this process, and
        goes on with one for each CPU (at most 16) where that is quicker.
      overwrite: replace records that are there already; any other folder is refused even so.
      progress: called with the number of files done and of all files, first with 0.
      metadata: kept with the records, beside the reader's own.

    Returns:
      the records, opened.

    Raises:
      DataError: a pattern matches nothing, a file can't be read or does not fit the schema
        (named, with the original error as the cause), there is no row, the output is in use or
        can't be written, or a worker process dies.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for number in range(3):
    ...     _ = (folder / f"{number}.txt").write_text(str(number * number))
    >>> def read(name):
    ...     return {"square": int(Path(name).read_text())}
    >>> schema = [{"name": "square", "shape": [], "dtype": "int64"}]
    >>> prepare(folder / "*.txt", folder / "squares", schema, read).gather([0, 2])["square"]
    array([0, 4])
    """
    refuse_in_starting_process()
    if not callable(read):
        raise DataError(f"read must be a function of one file name; got {read!r}.")
    if workers is not None and (isinstance(workers, bool) or workers < 1):
        raise DataError(f"workers must be 1 or more, or None to choose; got {workers!r}.")
    schema = Schema.from_list(schema)
    # A link to a folder elsewhere stays a link: what it leads to is written.
    with _place_for(Path(os.path.realpath(output)), overwrite) as place:
        names = find_files(files)
        bind = getattr(read, "for_files", None)
        reader = read if bind is None else bind(names)
        kept = {**getattr(reader, "metadata", {}), **(metadata or {})}
        parts = _parts(Job(reader, schema), names, workers)
        with contextlib.closing(parts), RecordWriter(place, schema, metadata=kept) as writer:
            _write(parts, writer, names, progress)
    # Records bring torch, which a worker process that runs a script's imports again can do without.
    from dovetail.data.records import Records

    return Records(Path(output))


def _parts(job: Job, names: Sequence[str], workers: int | None) -> Generator[Part, None, None]:
    if workers is not None and min(workers, len(names)) > 1:
        yield from read_in_processes(job, names, workers)
        return
    crew = usual_workers() if workers is None else 1
    patience = _PATIENCE if crew > 1 and can_travel(job) else None
    done = 0
    with contextlib.closing(read_here(job, names, patience)) as parts:
        for part in parts:
            yield part
            done += part.last
    if done < len(names):
        yield from read_in_processes(job, names, crew, start=done)


def _write(
    parts: Iterator[Part],
    writer: RecordWriter,
    names: Sequence[str],
    progress: Callable[[int, int], None] | None,
) -> None:
    done = 0
    if progress is not None:
        progress(done, len(names))
    for part in parts:
        for row in part.rows:
            writer.append(row)
        done += part.last
        if part.last and progress is not None:
            progress(done, len(names))
    if not writer.rows:
        raise DataError(
            f"None of the {len(names)} files gave a row, so there is nothing to store. "
            f"The first is '{names[0]}'."
        )


@contextlib.contextmanager
def _place_for(whole: Path, overwrite: bool) -> Iterator[Path]:
    """Give the folder to write: `whole`, or one beside it that takes its place afterwards."""
    new, old = (whole.with_name(f".{whole.name}.{end}") for end in ("new", "old"))
    if old.exists() and not whole.exists():
        old.rename(whole)  # a run was killed between the two renames below
    if not os.path.lexists(whole) or (whole.is_dir() and not any(whole.iterdir())):
        yield whole
        return
    if not (whole / MANIFEST).is_file():
        raise DataError(
            f"'{whole}' exists and is not a folder of records, so it is left alone. Give another "
            "output, or remove it yourself."
        )
    if not overwrite:
        raise DataError(
            f"'{whole}' holds records already. Give another output, or overwrite=True "
            "(--overwrite) to replace them."
        )
    _remove(new, old)
    try:
        yield new
        whole.rename(old)
        new.rename(whole)
    finally:
        if not whole.exists():
            old.rename(whole)
        _remove(new, old)


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)

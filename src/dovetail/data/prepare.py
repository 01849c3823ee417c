"""Turn a user's files into records: found, read, checked against the schema, and stored whole."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.data.addition import RECORDS, Addition
from dovetail.data.aside import Aside
from dovetail.data.crew import (
    can_travel,
    read_in_processes,
    refuse_in_starting_process,
    usual_workers,
)
from dovetail.data.failures import (
    Failure,
    allowed_failures,
    check_failures,
    nothing_stored,
    write_failures,
)
from dovetail.data.files import find_files
from dovetail.data.identity import file_chain, job_identity, job_identity_in_all
from dovetail.data.manifest import NAME as MANIFEST
from dovetail.data.readers.reader import bound, metadata_of, schema_of
from dovetail.data.reading import Job, Part, Read, read_here
from dovetail.data.record_writer import RecordWriter
from dovetail.data.resume import WorkLog
from dovetail.data.schema import Schema
from dovetail.data.sources import fresh, job_name, read_sources, source_of, write_sources
from dovetail.errors import DataError

if TYPE_CHECKING:
    from dovetail.data.records import Records

# Starting processes, each of which may import torch, takes a few seconds: it pays where reading
# the files that are left would take longer than this many.
_PATIENCE = 10.0

_KEPT = (
    "What was finished until then is kept: the same command goes on from there, also when files "
    "that come later were corrected or removed."
)


def prepare(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    schema: Schema | Iterable[Mapping[str, Any]] | None,
    read: Read,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    append: bool = False,
    on_error: str | int = "stop",
    shard_bytes: int = 64 << 20,
    compression: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Records:
    """Read files into records, in natural order of their names, with one or several processes.

    The records' bytes are the same for any number of processes: `read` starts each file with
    Python's, NumPy's and torch's global random generators seeded by the file's place. The output
    appears when it is whole and not before. What a killed run leaves is a hidden folder beside
    it: the same call goes on from there, to the same bytes, and does no finished file again.
    Where it differs (a finished file changed, or was added or removed before it; another reader,
    schema or metadata) what depends on that is done anew, with a warning.

    Args:
      files: patterns and paths; `**` stands for any number of folders (see `find_files`).
      output: folder of the records. It may exist only if it is empty, or with `overwrite`; with
        `append` it is a set of records.
      schema: of every row; what data_schema() returns will do. None takes the reader's own.
      read: called with one file name (forward slashes), as prepare_data_for_a_single_file is;
        returns a row (a tuple in the schema's order, or a dict by name), or an iterator or list
        of them. It may have more; see `Reader`. Other processes get it pickled.
      workers: processes that read. 1 reads in this process. None begins in this process, and
        goes on with one for each CPU (at most 16) where that is quicker.
      overwrite: replace records that are there already; any other folder is refused even so.
      append: add the rows behind those that are there, which keep their places. Schema and, if
        given, compression must be theirs; metadata may only say more. Files that are in them
        already are left out with a warning, and one of these that has changed is refused. Files
        and rows are added once, however often the call is killed and given again.
      on_error: what a file that can't be read, or does not fit the schema, does: "stop" raises,
        "skip" leaves it out, a number leaves out so many and raises at the next. Of a file that
        is left out no row is kept; `failed.jsonl` beside the manifest says which and why, see
        `read_failures`.
      shard_bytes: about how large a shard's file grows before the next begins.
      compression: "lz4" or "zstd", which makes reading slower; see `RecordWriter`.
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
    if append and overwrite:
        raise DataError("append adds to the records that are there, overwrite replaces them.")
    if not callable(read):
        raise DataError(f"read must be a function of one file name; got {read!r}.")
    if workers is not None and (isinstance(workers, bool) or workers < 1):
        raise DataError(f"workers must be 1 or more, or None to choose; got {workers!r}.")
    allowed = allowed_failures(on_error)
    # A link to a folder elsewhere stays a link: what it leads to is written.
    whole = Path(os.path.realpath(output))
    aside = Addition(whole, resume=True) if append else _place(whole, overwrite)
    there = aside.manifest if isinstance(aside, Addition) else None
    try:
        names = find_files(files)
        sources = [source_of(name) for name in names]
        asked = {"metadata": metadata or {}, "compression": compression}
        known_as = job_identity_in_all(read, schema, asked)
        named = None if known_as is None else job_name(known_as, sources)
        if there is not None:
            known = read_sources(whole, there)
            failed = sum(source.path not in known.sources for source in sources)
            done = named in known.jobs and (allowed is None or failed <= allowed)
            names, sources = fresh(names, sources, known, str(output), done=done)
            if not names:
                aside.give_up()
                return _opened(output)
        reader = bound(read, names)
        job = Job(reader, _schema(schema, reader), goes_on=allowed != 0)
        kept = {**metadata_of(reader), **(metadata or {})}
        settings = {"metadata": kept, "shard_bytes": shard_bytes, "compression": compression}
        identity = job_identity(reader, job.schema, settings)
        if there is not None:
            identity[RECORDS] = there.fingerprint
        log = WorkLog(aside, identity, file_chain(names))
        if log.changed:
            start = f"gone on with from '{names[log.file]}'" if log.file else "begun anew"
            warnings.warn(
                f"'{output}' is {start}: an earlier prepare of it was stopped before its end, "
                f"but since then {' and '.join(log.changed)} changed.",
                stacklevel=2,
            )
        writer = RecordWriter(
            whole,
            job.schema,
            metadata=kept,
            shard_bytes=shard_bytes,
            compression=compression,
            append=append,
            aside=aside,
        )
        first_row, first_shard = (there.rows, len(there.shards)) if there else (0, 0)
        log.follow(writer)
        check_failures(log.failures, allowed)
        with contextlib.closing(_parts(job, names, workers, log.file)) as parts:
            _write(parts, writer, log, names, allowed, progress)
        if writer.rows == first_row:
            raise DataError(nothing_stored(names, log.failures))
        failures = [log.failures[index] for index in sorted(log.failures)]
        write_failures(aside.records, failures, first_shard)
        read_whole = [one for index, one in enumerate(sources) if index not in log.failures]
        write_sources(aside.records, first_shard, read_whole, named)
        writer.close()
    except BaseException as error:
        if aside.give_up() and isinstance(error, DataError):
            raise DataError(f"{error}\n{_KEPT}") from error.__cause__
        raise
    return _opened(output)


def rows_schema(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], read: Read
) -> Schema:
    """Give the schema that `prepare(files, output, None, read)` would use, and write nothing.

    Args:
      files: as for `prepare`.
      read: a reader that says what its rows are.

    Raises:
      DataError: it does not, or a pattern matches nothing.
    """
    return _schema(None, bound(read, find_files(files)))


def _opened(output: str | os.PathLike[str]) -> Records:
    # Not needed before; a worker process that runs a script's imports again does without.
    from dovetail.data.records import Records

    return Records(Path(output))


def _schema(schema: Schema | Iterable[Mapping[str, Any]] | None, reader: Read) -> Schema:
    if schema is not None:
        return Schema.from_list(schema)
    own = schema_of(reader)
    if own is None:
        name = getattr(reader, "__name__", type(reader).__name__)
        raise DataError(
            f"{name} does not say what its rows are, so a schema is needed: a list such as "
            '[{"name": "image", "shape": [8, 8], "dtype": "uint8"}].'
        )
    return own


def _parts(
    job: Job, names: Sequence[str], workers: int | None, start: int
) -> Generator[Part, None, None]:
    if workers is not None and min(workers, len(names) - start) > 1:
        yield from read_in_processes(job, names, workers, start)
        return
    crew = usual_workers() if workers is None else 1
    patience = _PATIENCE if crew > 1 and can_travel(job) else None
    done = start
    with contextlib.closing(read_here(job, names, patience, start)) as parts:
        for part in parts:
            yield part
            done += part.last
    if done < len(names):
        yield from read_in_processes(job, names, crew, done)


def _write(
    parts: Iterator[Part],
    writer: RecordWriter,
    log: WorkLog,
    names: Sequence[str],
    allowed: int | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    if progress is not None:
        progress(log.file, len(names))
    again = log.row  # rows of the first file that the records hold already
    for part in parts:
        for row in part.rows:
            if again:
                again -= 1
            else:
                writer.append(row)
                log.row += 1
        if part.failure is not None:
            log.rewind(writer, writer.rows - log.row)
            log.failures[log.file] = Failure(names[log.file], part.failure)
            check_failures(log.failures, allowed)
        elif part.last and again:
            raise DataError(
                f"'{names[log.file]}' gave fewer rows than when a run before this one read it, "
                f"which was stopped. Remove '{log.folder}' to begin anew."
            )
        if part.last:
            log.file, log.row, again = log.file + 1, 0, 0
        log.save(writer)
        if part.last and progress is not None:
            progress(log.file, len(names))


def _place(whole: Path, overwrite: bool) -> Aside:
    """Take the folder to write in, beside one that is absent, empty, or may be replaced."""
    if whole.is_dir() and any(whole.iterdir()) and not (whole / MANIFEST).is_file():
        raise DataError(
            f"'{whole}' exists and is not a folder of records, so it is left alone. Give another "
            "output, or remove it yourself."
        )
    aside = Aside(whole, replace=True, resume=True)
    if (whole / MANIFEST).is_file() and not overwrite:
        aside.give_up()
        raise DataError(
            f"'{whole}' holds records already. Give another output, or overwrite=True "
            "(--overwrite) to replace them."
        )
    return aside

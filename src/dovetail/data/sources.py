"""Which files records were made from, so that none of them is added a second time.

    sources.jsonl        of the rows that the records began with
    sources-00003.jsonl  of the rows that were added with shard 3 and those after it

The first line says how many files there are, and the job that they were read in; each other line
is a file's whole path, size and time of change. A file that gave no rows is not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

from dovetail.data.manifest import CURE, Manifest
from dovetail.errors import DataError

_SHOWN = 3


class Source(NamedTuple):
    """A file as it was when it was read.

    Attributes:
      path: of it, absolute.
      size: in bytes; None for a link that leads nowhere.
      changed: when it was changed last, in nanoseconds.
    """

    path: str
    size: int | None
    changed: int | None


@dataclass(frozen=True)
class Known:
    """What some records say of the files that they were made from.

    Attributes:
      sources: by path.
      jobs: what was added, each by `job_name`.
      complete: whether all rows are of these files.
    """

    sources: dict[str, Source] = field(default_factory=dict)
    jobs: frozenset[str] = frozenset()
    complete: bool = True


def source_of(name: str) -> Source:
    """Give what tells a file from others, and from itself once it is changed.

    >>> source_of("/no/such/file")
    Source(path='/no/such/file', size=None, changed=None)
    """
    path = str(PurePath(os.getcwd(), name))
    try:
        status = os.stat(name)
    except OSError:
        return Source(path, None, None)
    return Source(path, status.st_size, status.st_mtime_ns)


def sources_name(shard: int) -> str:
    """Give the name of the file that lists the sources of the rows from a shard on.

    >>> sources_name(0), sources_name(12)
    ('sources.jsonl', 'sources-00012.jsonl')
    """
    return f"sources-{shard:05d}.jsonl" if shard else "sources.jsonl"


def job_name(how: str, sources: Sequence[Source]) -> str:
    """Give a hash of what is to be read, and how.

    Args:
      how: identity of the reader, and of whatever else the rows depend on.
      sources: all files that were asked for.
    """
    digest = hashlib.sha256(how.encode())
    for source in sources:
        digest.update(f"{json.dumps(source)}\n".encode())
    return digest.hexdigest()[:32]


def write_sources(folder: Path, shard: int, sources: Sequence[Source], job: str | None) -> None:
    """Write the list of some sources; it is durable on return, but for its name.

    Args:
      folder: to write in.
      shard: the first one that holds rows of them.
      sources: in the order in which they were read.
      job: see `job_name`; None for one that can't be known again.
    """
    with (folder / sources_name(shard)).open("w", encoding="ascii") as file:
        for line in [{"files": len(sources), "job": job}, *sources]:
            file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_sources(folder: Path, manifest: Manifest) -> Known:
    """Read which files some records were made from.

    Args:
      folder: of the records.
      manifest: theirs.

    Raises:
      DataError: a list is damaged.
    """
    sources: dict[str, Source] = {}
    jobs: set[str] = set()
    complete = True
    for shard in [0, *(added.shard for added in manifest.additions if added.rows)]:
        path = folder / sources_name(shard)
        if not path.exists():
            complete = False  # rows that a RecordWriter got
            continue
        try:
            head, *lines = map(json.loads, path.read_text(encoding="ascii").splitlines())
            listed = [Source(*line) for line in lines]
            if head["files"] != len(listed):
                raise ValueError
        except (ValueError, TypeError, KeyError):
            raise DataError(f"{path} was damaged or edited after it was written. {CURE}") from None
        sources.update((source.path, source) for source in listed)
        if head["job"] is not None:
            jobs.add(head["job"])
    return Known(sources, frozenset(jobs), complete)


def fresh(
    names: Sequence[str],
    sources: Sequence[Source],
    known: Known,
    output: str,
    *,
    done: bool = False,
) -> tuple[list[str], list[Source]]:
    """Give those files, with their sources, that are not in some records; say which are left out.

    Args:
      names: of the files.
      sources: of each, as it is now.
      known: what the records say.
      output: the records, for messages.
      done: the very same was asked for before, so that files which are not there gave no rows.

    Raises:
      DataError: a file is in the records and was changed since.
    """
    pairs = list(zip(names, sources, strict=True))
    changed = [name for name, source in pairs if known.sources.get(source.path, source) != source]
    if changed:
        raise DataError(
            f"{_listed(changed)} in '{output}' already, and changed since. Leave out what is "
            "there, or prepare all of it anew (overwrite=True, --overwrite)."
        )
    new = [pair for pair in pairs if not done and pair[1].path not in known.sources]
    there = [name for name, source in pairs if source.path in known.sources]
    if there:
        left = "so they are left out" if new else "so there is nothing to add"
        if done and len(there) < len(pairs):
            left += f"; the other {len(pairs) - len(there)} gave no rows when this was done before"
        warnings.warn(f"{_listed(there)} in '{output}' already, {left}.", stacklevel=3)
    if new and not known.complete:
        warnings.warn(
            f"'{output}' does not say of all its rows which files they are from, so one that is "
            "in it already may be added again.",
            stacklevel=3,
        )
    return [name for name, _ in new], [source for _, source in new]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    if len(names) == 1:
        return f"The file {shown} is"
    return f"{len(names):,} files ({shown}{', ...' if len(names) > _SHOWN else ''}) are"

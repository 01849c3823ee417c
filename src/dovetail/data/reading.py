"""The rows of one file after another, read in this process or in several, always in file order."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dovetail.data.schema import Schema, Value
from dovetail.errors import DataError, DovetailError

Row = dict[str, Value]
# Gives a file's row as a tuple or dict, or an iterator of them for a file of many rows.
Read = Callable[[str], Any]

PART_BYTES = 4 << 20  # rows are handed on in parts of about this size, so memory stays bounded


class Part(NamedTuple):
    """Some rows of one file, in order.

    Attributes:
      rows: the next of them.
      last: the file holds no more.
      failure: why the file can't be read, so that none of its rows counts; None while it can.
    """

    rows: list[Row]
    last: bool
    failure: str | None = None


@dataclass(frozen=True)
class Job:
    """How to turn one file into rows: read it, then check each row against the schema.

    Args:
      read: called with a file's name.
      schema: what its rows are converted to.
      goes_on: a file that fails is a part that says so, not an error.
    """

    read: Read
    schema: Schema
    goes_on: bool = False

    @property
    def name(self) -> str:
        """What to call `read` in a message."""
        return getattr(self.read, "__name__", type(self.read).__name__)

    def parts(self, index: int, filename: str) -> Iterator[Part]:
        """Yield the rows of one file in parts; a failure names the file, as DataError or part.

        Args:
          index: the file's place among all files; random numbers that `read` draws from `random`,
            NumPy's or torch's global generator depend on it alone, not on which process reads.
          filename: the file, as `read` is given it.
        """
        rows: list[Row] = []
        size = 0
        try:
            for row in self._rows(index, filename):
                rows.append(row)
                size += sum(_bytes(value) for value in row.values())
                if size >= PART_BYTES:
                    yield Part(rows, last=False)
                    rows, size = [], 0
        except DataError as error:
            # That memory ran out is no fault of the file, and may go otherwise next time.
            if not self.goes_on or isinstance(error.__cause__, MemoryError):
                raise
            yield Part([], last=True, failure=str(error))
            return
        yield Part(rows, last=True)

    def _rows(self, index: int, filename: str) -> Iterator[Row]:
        try:
            _seed(index)
            torch_was_there = "torch" in sys.modules
            result = self.read(filename)
            if not torch_was_there and "torch" in sys.modules:
                # The first read brought torch in, so its generator was not seeded: read again.
                _seed(index)
                result = self.read(filename)
            if not _is_many(result):
                yield self.schema.convert(result, filename)
                return
            for number, row in enumerate(result):
                yield self.schema.convert(row, f"{filename}, row {number}")
        except (Exception, SystemExit) as error:
            if isinstance(error, DovetailError) and filename in str(error):
                raise
            kind = type(error).__name__
            raise DataError(
                f"{self.name} failed on '{filename}': {kind}: {str(error).rstrip('.')}. "
                "Correct or remove the file, or handle it there."
            ) from error


def read_here(
    job: Job, files: Sequence[str], patience: float | None = None, start: int = 0
) -> Generator[Part, None, None]:
    """Yield the parts of the files in order, reading in this process.

    The caller's random generators are put back afterwards.

    Args:
      job: how to read.
      files: names of files.
      patience: seconds that the files still to come may take, judged by those before; when they
        would take longer, reading stops after the file at hand. None reads all.
      start: index of the first file to read.
    """
    started = None
    with _randomness_kept():
        for index in range(start, len(files)):
            yield from job.parts(index, files[index])
            # The first file may have had much to import, so the clock starts after it.
            now = time.monotonic()
            started = now if started is None else started
            spent = now - started
            timed = index - start
            if patience is None or not timed or spent < patience / 20:
                continue
            if spent / timed * (len(files) - index - 1) > patience:
                return


def _is_many(result: object) -> bool:
    """Whether what `read` returned is many rows: an iterator, or a list of tuples and dicts."""
    if isinstance(result, list) and result:
        return all(isinstance(row, tuple | Mapping) for row in result)
    return isinstance(result, Iterator)


def _bytes(value: object) -> int:
    if isinstance(value, np.ndarray):
        if value.dtype != object:
            return value.nbytes
        return sum(_bytes(item) for item in value.flat)
    return len(value) if isinstance(value, str | bytes) else 64


def _seed(index: int) -> None:
    random.seed(index)
    np.random.seed(index % 2**32)
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.manual_seed(index)


@contextlib.contextmanager
def _randomness_kept() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    state = torch.get_rng_state() if torch is not None else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if torch is not None:
            torch.set_rng_state(state)

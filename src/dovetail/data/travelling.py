"""Errors on their way from a process to the one that started it."""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass
from typing import Any, NoReturn

from dovetail.errors import DataError


@dataclass(frozen=True)
class Travelling:
    """An error of another process.

    Attributes:
      error: to raise here.
      cause: what caused it, if anything did.
      where: the traceback there.
    """

    error: Exception
    cause: BaseException | None
    where: str

    def arrive(self) -> NoReturn:
        """Raise the error, with a note of where it happened."""
        told = self.error if self.cause is None else self.cause
        told.add_note(f"In the worker process:\n{self.where}")
        raise self.error from self.cause


def travelling(error: Exception) -> Travelling:
    """Make an error ready to be sent.

    >>> try:
    ...     travelling(KeyError("x")).arrive()
    ... except KeyError as error:
    ...     print(error.__notes__[0].splitlines()[0])
    In the worker process:
    """
    where = "".join(traceback.format_exception(error))
    cause = error.__cause__
    return Travelling(_picklable(error), None if cause is None else _picklable(cause), where)


def _picklable(error: BaseException) -> Any:
    """The error itself if it survives pickling, else one that says the same."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:  # an exception class may do anything when pickled
        said = DataError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            said.add_note(note)
        return said

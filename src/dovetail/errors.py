"""The user's mistakes, each with the object, the place, what was expected and what to do.

Every error that Dovetail raises about a user's own input is one of these, so that the command
line can show it as one message (exit code 1) and a program can catch it by kind. Faults of
Dovetail itself are plain assertions and propagate with their traceback.
"""

from __future__ import annotations


class DovetailError(Exception):
    """Base of every error about something that the user wrote, gave or stored."""


class DefinitionError(DovetailError, ValueError):
    """A model definition is missing a part, misspells one, or its parts do not fit."""


class ParamsError(DovetailError, ValueError):
    """A hyperparameter or setting is unknown, of the wrong type, or out of range."""


class DataError(DovetailError, ValueError):
    """A schema, a file of examples, or a set of records is wrong, empty or damaged."""


class CheckpointError(DovetailError, ValueError):
    """A checkpoint is absent, damaged, or belongs to another definition."""


class ModelDirInUseError(DovetailError, RuntimeError):
    """Another run that is alive writes to the same model_dir."""


class StorageError(DovetailError, OSError):
    """A disk is full or fails: not the user's mistake, so the command line exits with 3."""


class NanLossError(DovetailError, RuntimeError):
    """The loss, or a parameter about to be saved, is not finite.

    Attributes:
      step: the global step whose loss was not finite.
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


def nearest(name: str, known: object) -> str:
    """Return `" Did you mean 'x'?"` for the nearest known name, or an empty string.

    >>> nearest("learning_rat", ["learning_rate", "width"])
    " Did you mean 'learning_rate'?"
    >>> nearest("qqq", ["learning_rate"])
    ''
    """
    import difflib
    from collections.abc import Iterable

    assert isinstance(known, Iterable)
    matches = difflib.get_close_matches(name, [str(k) for k in known], n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""


def a_kind(value: object) -> str:
    """Return a value's type as a sentence names it; None is itself.

    >>> a_kind([1]), a_kind(3), a_kind(None)
    ('a list', 'an int', 'None')
    """
    name = type(value).__name__
    vowel = name.startswith((*"AEIOaeio", "nd"))  # an ndarray; a UserDict
    return "None" if value is None else f"{'an' if vowel else 'a'} {name}"

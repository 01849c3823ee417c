"""Showing what went wrong as one message on stderr, and the exit code that goes with it.

0 done; 1 the user's mistake: a DovetailError, or an exception out of the user's own definition;
2 the command line was used wrongly (typer shows that); 3 a failure that is not the user's, a
disk that is full or fails among them;
130 and 143: ended by a signal.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from dovetail.cli.show import say_on_stderr
from dovetail.errors import DovetailError, StorageError

MISTAKE, FAILURE, INTERRUPTED = 1, 3, 130
_PACKAGE = Path(__file__).resolve().parents[1]
_CALLS_THE_USER = ("definition", "layers", "program/network.py")


@contextmanager
def mistakes_shown(*models: str, show_traceback: bool = False) -> Iterator[None]:
    """Turn an exception into a message and typer.Exit with its code; warnings into notes.

    Args:
      *models: the user's files, whose line is shown if one is what raised.
      show_traceback: print the whole traceback before the message.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _note_once()
        try:
            yield
            sys.stdout.flush()
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            say_on_stderr("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError as error:
            if not _nobody_reads():
                raise typer.Exit(show(error, *models, show_traceback=show_traceback)) from error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception as error:
            raise typer.Exit(show(error, *models, show_traceback=show_traceback)) from error


def show(error: Exception, *models: str, show_traceback: bool = False) -> int:
    """Print an exception as a message and return the exit code for it."""
    if show_traceback:
        traceback.print_exception(error)
    text, code = explained(error, *models)
    say_on_stderr(text, label="error:")
    return code


def explained(error: Exception, *models: str) -> tuple[str, int]:
    """Return what to tell the user about an exception, and the exit code.

    Args:
      error: with its traceback.
      *models: the user's files.

    >>> explained(DovetailError("The records are empty."))
    ('The records are empty.', 1)
    """
    at = _user_line(error, models)
    name = type(error).__name__
    if isinstance(error, DovetailError):
        text = str(error)
        shown = at is None or f"{Path(at.filename).name}:{at.lineno}" in text
        code = FAILURE if isinstance(error, StorageError) else MISTAKE
        return text if shown else f"{text}\n  {_place(at)}", code
    if isinstance(error, PermissionError) and error.filename is not None:
        return (
            f"{error.filename}: {error.strerror}. Give yourself permission there, or name another "
            "place.",
            MISTAKE,
        )
    notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
    if at is not None:
        text = f"{name}: {error}\n  {_place(at)}{notes}\n(--traceback shows how it came to that)"
        return text, MISTAKE
    if _raised_below_the_definition(error):
        last = traceback.extract_tb(error.__traceback__)[-1]
        whose = f" of {models[0]}" if models else ""
        return (
            f"{name}: {error}\n  raised in {last.filename}:{last.lineno}, called by the "
            f"definition{whose}: what it is made of does not fit its input, or has wrong "
            f"arguments.{notes}\n(--traceback shows how it came to that)",
            MISTAKE,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f": {error.filename}" if error.filename else ""
        return f"The disk is full{where}. Make room, then run the same command again.", FAILURE
    return (
        f"{name}: {error}{notes}\nAs far as Dovetail can tell, nothing that was given is at fault. "
        "Run the same command with --traceback to see where it failed, and report that.",
        FAILURE,
    )


def _note_once() -> Callable[..., None]:
    """Return what shows a warning: as a note, the same text once (files are executed again)."""
    shown: set[str] = set()

    def note(message: Warning | str, *where: object, **more: object) -> None:
        text = str(message)
        if text not in shown:
            shown.add(text)
            say_on_stderr(text, label="note:")

    return note


def _user_line(error: BaseException, models: Sequence[str]) -> traceback.FrameSummary | None:
    """Find the innermost line of the user's files that an exception, or its cause, came through."""
    files = [path for path in map(Path, models) if path.is_file()]
    if not files:
        return None
    from dovetail.definition.source import local_files

    own = {str(path.resolve()) for file in files for path in local_files(file)}
    current: BaseException | None = error
    while current is not None:
        for frame in reversed(traceback.extract_tb(current.__traceback__)):
            if os.path.realpath(frame.filename) in own:
                return frame
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)
    return None


def _place(at: traceback.FrameSummary | None) -> str:
    assert at is not None
    path = os.path.relpath(at.filename)
    shown = at.filename if path.startswith("..") else path
    code = f": {at.line}" if at.line else ""
    return f"at {shown}:{at.lineno}, in {at.name}{code}"


def _raised_below_the_definition(error: Exception) -> bool:
    """Whether something that is not Dovetail's raised, called where the user's parts are called."""
    frames = [Path(f.filename).resolve() for f in traceback.extract_tb(error.__traceback__)]
    own = [path.relative_to(_PACKAGE) for path in frames if path.is_relative_to(_PACKAGE)]
    if not own or frames[-1].is_relative_to(_PACKAGE):
        return False
    return own[-1].as_posix().startswith(_CALLS_THE_USER)


def _nobody_reads() -> bool:
    """Whether the reader of our stdout has gone, as `| head` goes when it has enough."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):  # no file stands behind stdout
        return False

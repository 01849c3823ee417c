"""What makes a function a command: its arguments from flags, its mistakes shown."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dovetail.cli.errors import mistakes_shown
from dovetail.cli.flags import TRACEBACK, run_option


def verb(
    run_flags: Sequence[str] = (),
    files: Callable[[Mapping[str, Any]], Sequence[str]] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function of typer's annotated arguments a command, its mistakes shown.

    Args:
      run_flags: fields of RunConfig that become flags too; the function gets those by name, None
        where not given, as one mapping `flags`.
      files: given the arguments by name, the user's files, whose lines are shown if they raise;
        None: the model, or the first path.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = typing.get_type_hints(function, include_extras=True)
        parameters = [
            p.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, p in inspect.signature(function).parameters.items()
            if name != "flags"
        ]
        parameters += [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=run_option(name),
            )
            for name in run_flags
        ]
        parameters.append(
            inspect.Parameter(
                "traceback", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=TRACEBACK
            )
        )

        def command(**given: Any) -> None:
            show_traceback = given.pop("traceback")
            if run_flags:
                given["flags"] = {name: given.pop(name) for name in run_flags}
            own = (files or _model)(given)
            with mistakes_shown(*own, show_traceback=show_traceback), _importable(own):
                function(**given)

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__signature__ = inspect.Signature(parameters)
        return command

    return decorate


def _model(given: Mapping[str, Any]) -> list[str]:
    first = (given.get("words") or [None])[0]
    model = given.get("model", given.get("path", first))
    return [model] if model is not None else []


@contextmanager
def _importable(files: Sequence[str]) -> Iterator[None]:
    """Let the user's files import what lies beside them, inside their functions too."""
    own = [path for path in map(Path, files) if path.is_file()]
    folders = list(dict.fromkeys(str(path.resolve().parent) for path in own))
    sys.path[:0] = folders
    try:
        yield
    finally:
        for folder in folders:
            if folder in sys.path:
                sys.path.remove(folder)

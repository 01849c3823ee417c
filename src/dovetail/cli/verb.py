"""What makes a function a command: its arguments from flags, its mistakes shown."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dovetail.cli.errors import mistakes_shown
from dovetail.cli.flags import TRACEBACK, run_option


def verb(run_flags: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function of typer's annotated arguments a command, its mistakes shown.

    Args:
      run_flags: fields of RunConfig that become flags too; the function gets those by name, None
        where not given, as one mapping `flags`.
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
            first = (given.get("words") or [None])[0]
            model = given.get("model", given.get("path", first))
            with mistakes_shown(model, show_traceback=show_traceback), _importable(model):
                function(**given)

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__signature__ = inspect.Signature(parameters)
        return command

    return decorate


@contextmanager
def _importable(model: str | None) -> Iterator[None]:
    """Let the model file import what lies beside it, inside its functions too."""
    if model is None or not Path(model).is_file():
        yield
        return
    folder = str(Path(model).resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)

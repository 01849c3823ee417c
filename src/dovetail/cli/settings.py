"""The values of a run, put together from everywhere, and the model_dir that it is kept in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dovetail.errors import DovetailError

if TYPE_CHECKING:
    from dovetail.run.resolve import Resolved


def put_together(
    model: str,
    *,
    params: str | None,
    settings: Sequence[str] | None,
    flags: Mapping[str, Any],
) -> Resolved:
    """Load the definition and put all sources of values together.

    Raises:
      DovetailError: the definition is wrong, or a value is unknown or of the wrong type.
    """
    from dovetail.definition.definition import load
    from dovetail.run.resolve import resolve

    return resolve(
        load(model),
        params_file=None if params is None else Path(params),
        settings=settings or (),
        flags=flags,
    )


def with_new_model_dir(resolved: Resolved) -> Resolved:
    """Give a run that names no model_dir one of its own, made now: `results/<date>_<time>`."""
    return in_model_dir(resolved, new_folder(Path("results")), "default, fixed at launch")


def with_existing_model_dir(resolved: Resolved, checkpoint_path: str | None) -> Resolved:
    """Find the model_dir to read from: the one that is named, or that of the checkpoint.

    Raises:
      DovetailError: there is no such folder.
      typer.BadParameter: none is named.
    """
    named = resolved.config.model_dir
    if named is None and checkpoint_path is not None:
        folder = Path(checkpoint_path).resolve().parents[1]
        folder = folder.parent if folder.name == "export" else folder
        return in_model_dir(resolved, folder, "command line --checkpoint-path")
    if named is None:
        raise typer.BadParameter(
            "say which run: --model-dir DIR, or --checkpoint-path DIR.", param_hint="'--model-dir'"
        )
    if not Path(named).is_dir():
        raise DovetailError(
            f"There is no model_dir {named} ({resolved.origins['runconfig.model_dir']}). Train "
            "first, or name the folder of a run."
        )
    return resolved


def in_model_dir(resolved: Resolved, folder: Path, origin: str) -> Resolved:
    """Return the values with another model_dir, and where it came from."""
    return replace(
        resolved,
        config=resolved.config.replace(model_dir=str(folder)),
        origins={**resolved.origins, "runconfig.model_dir": origin},
    )


def new_folder(parent: Path) -> Path:
    """Make a folder named for this moment; two at once get two."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while True:
        folder = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if not parent.is_dir():
                raise DovetailError(f"'{parent}' is a file; name another --model-dir.") from None
            number += 1
        except OSError as error:
            raise DovetailError(
                f"The model_dir {folder} can't be made: {error.strerror}. Name another with "
                "--model-dir."
            ) from error
        else:
            return folder


@contextlib.contextmanager
def not_left_empty(folder: str | None) -> Iterator[None]:
    """Remove a folder made for this run if a mistake ends it before anything came there.

    Args:
      folder: made by `new_folder`; None does nothing.
    """
    try:
        yield
    except Exception:
        if folder is not None:
            with contextlib.suppress(OSError):  # it is not empty, so it stays
                left = list(Path(folder).iterdir())
                if all(path.name in _OF_ANY_RUN for path in left):
                    for path in left:
                        path.unlink()
                Path(folder).rmdir()
                Path(folder).parent.rmdir()
        raise


_OF_ANY_RUN = ("run.lock", "heartbeat.json")  # there before a run has done anything

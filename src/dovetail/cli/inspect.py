"""`dovetail inspect`: shows a model file, records, a checkpoint or a model_dir in readable form."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dovetail.cli.verb import verb
from dovetail.errors import DovetailError, nearest

_KINDS = "a model file, records, a checkpoint, or a model_dir"


@verb()
def inspect(
    path: Annotated[
        str,
        typer.Argument(metavar="WHAT", help="A model file, records, a checkpoint or a model_dir."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what a model file, records, a checkpoint or a model_dir holds.

    Example:
        dovetail inspect demo/model
    """
    from importlib import import_module

    place, kind = found(Path(path))
    # Each of these has describe(path), which gives plain values, and show(described).
    module = import_module(f"dovetail.cli.inspect_{kind}")
    described = module.describe(place)
    if as_json:
        from dovetail.cli.show import print_json

        print_json({"kind": kind, "path": str(place), **described})
    else:
        module.show(place, described)


def found(path: Path) -> tuple[Path, str]:
    """Return what is to be shown and its kind: definition, records, checkpoint or model_dir.

    A file that belongs to a folder of one of these kinds stands for that folder.

    Raises:
      DovetailError: nothing is there, or nothing that Dovetail knows.
    """
    if not path.exists():
        beside = os.listdir(path.parent) if path.parent.is_dir() else []
        raise DovetailError(
            f"There is nothing at {path}.{nearest(path.name, beside)} Name {_KINDS}."
        )
    if path.suffix == ".py" and path.is_file():
        return path, "definition"
    folder = path if path.is_dir() else path.parent
    if (folder / "manifest.json").is_file():
        return folder, "records"
    if (folder / "state.json").is_file() or (folder / "model.safetensors").is_file():
        return folder, "checkpoint"
    if path.is_dir() and path.name == "checkpoints":
        return path.parent, "model_dir"
    if path.is_dir() and ((path / "checkpoints").is_dir() or (path / "provenance").is_dir()):
        return path, "model_dir"
    raise DovetailError(f"{path} is none of what Dovetail writes or reads. Name {_KINDS}.")

"""Programs on disk, as a pipeline keeps and finds them: in checkpoints, like those of a run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dovetail.definition.definition import load as load_definition
from dovetail.errors import CheckpointError, DataError, DefinitionError
from dovetail.program.devices import choose_device
from dovetail.program.program import Program
from dovetail.run import checkpoint, checkpoint_files, provenance, saving
from dovetail.run.run_again import given_params


def save(program: Program, path: str | os.PathLike[str]) -> Path:
    """Save a program's parameters and optimizers, in the place of what was saved there before.

    Args:
      program: built to train.
      path: of a folder, which gets the layout of a model_dir; it is made.

    Returns:
      The checkpoint's folder.

    Raises:
      DataError: the folder is that of a run, whose checkpoints are its own.
      NanLossError: a parameter is not finite; what was there before stays.
    """
    folder = Path(path)
    _check(program, "save_model")
    if (folder / provenance.FOLDER).exists():
        raise DataError(
            f"save_model: {folder} is the model_dir of a run, whose checkpoints are its own. "
            "Choose another folder."
        )
    saved = saving.save(program, folder)
    for other in checkpoint.listed(folder):
        if other != saved:
            checkpoint_files.delete(other)
    return saved


def load(program: Program, path: str | os.PathLike[str], *, weights_only: bool = False) -> None:
    """Give a program what was saved; one without layers gets it as soon as it is built.

    Args:
      program: of the same definition.
      path: of a folder that `save` wrote, of a run's model_dir, or of one checkpoint.
      weights_only: leave its optimizers as they are.

    Raises:
      CheckpointError: there is no checkpoint, or it is of another definition.
    """
    _check(program, "load_model")
    found = _newest(Path(path))

    def restore(program: Program) -> None:
        saving.restore(program, found, weights_only=weights_only)

    if program.built:
        restore(program)
    else:
        program.when_built = restore


def program_of(
    model_dir: str | os.PathLike[str],
    definition: Any,
    params: Mapping[str, Any] | None = None,
) -> Program:
    """Make the program of a run: of its definition, with its params and its newest checkpoint.

    Args:
      model_dir: of the run, or a folder that `save` wrote.
      definition: whatever `dovetail.load` takes.
      params: values over those that the run recorded.

    Returns:
      A program, built at its first step.

    Raises:
      CheckpointError: there is no checkpoint.
    """
    folder = Path(model_dir)
    found = _newest(folder)
    loaded = load_definition(definition)
    settings: dict[str, Any] = {"seed": int(found.state.get("seed") or 0)}
    records = provenance.read(folder)
    if records:
        loaded = loaded.with_params(given_params(loaded, records[-1]["params"]))
        values = records[-1].get("extra", {}).get("values", {})
        settings["precision"] = values.get("runconfig.precision", "fp32")
    program = Program(loaded.with_params(params), device=choose_device("auto"), **settings)
    # Averages of parameters, where a run kept them, are what is evaluated: weights alone are read.
    load(program, found.path, weights_only=True)
    return program


def _newest(path: Path) -> checkpoint.Checkpoint:
    if path.parent.name == "checkpoints" and checkpoint.latest(path) is None:
        return checkpoint.load(path)
    found = checkpoint.latest_good(path, lambda text: warnings.warn(text, stacklevel=2))
    if found is None:
        raise CheckpointError(
            f"There is no checkpoint in {path}. Give the model_dir of a run that was trained, or "
            "the folder that save_model wrote."
        )
    return found


def _check(program: Any, action: str) -> None:
    if not isinstance(program, Program):
        raise DefinitionError(
            f"{action} is for Dovetail programs; this model is a {type(program).__name__}. Write "
            "an action of your own for it."
        )

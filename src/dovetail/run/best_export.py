"""The record of which export is the best, `best.json` in its exporter's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dovetail.errors import CheckpointError, StorageError
from dovetail.run import checkpoint_files as files

NAME = "best.json"


def read(folder: Path) -> dict[str, Any] | None:
    """Return {"step", "metrics"} of the best export; None where there is none yet.

    Raises:
      CheckpointError: the record is damaged.
    """
    path = folder / NAME
    try:
        best = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged: it is no JSON ({error}). Delete it, and the best is looked for "
            "afresh."
        ) from error
    if not isinstance(best, dict) or not {"step", "metrics"} <= best.keys():
        raise CheckpointError(
            f"{path} holds no best export: it must be an object of step and metrics. Delete it, "
            "and the best is looked for afresh."
        )
    return best


def write(folder: Path, best: Mapping[str, Any]) -> None:
    """Record which export is the best: the record before stays until the new one is whole.

    Raises:
      StorageError: it can't be written.
    """
    aside = folder / f".{NAME}.part"
    try:
        with aside.open("w") as file:
            json.dump(best, file)  # a nan among the metrics is written as NaN, and read so
            file.flush()
            os.fsync(file.fileno())
        aside.replace(folder / NAME)
        files.sync(folder)
    except OSError as error:
        raise StorageError(
            f"What is the best can't be written to {folder / NAME}: {error}. Make room or mend "
            "the disk, then start the same command again."
        ) from error

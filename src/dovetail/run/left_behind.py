"""What a run has left in its model_dir: its newest checkpoint, its last evaluations; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dovetail.errors import CheckpointError
from dovetail.run import checkpoint_files, event_files


@dataclass(frozen=True)
class Saved:
    """A checkpoint as it lies on disk.

    Attributes:
      step: its step.
      path: its folder.
      age_secs: since it was written.
      whole: whether its record is undamaged and its files have the lengths in it.
      count: how many checkpoints there are.
    """

    step: int
    path: str
    age_secs: float
    whole: bool
    count: int


def newest_checkpoint(model_dir: Path, now: float) -> Saved | None:
    """Return the newest checkpoint of a model_dir, its files' lengths compared with its record."""
    found = checkpoint_files.listed(checkpoint_files.folder_of(model_dir))
    for step, path in reversed(found.items()):
        record = path / checkpoint_files.STATE
        try:
            files: Any = checkpoint_files.read_state(record)["files"]
            whole = all((path / n).stat().st_size == said["bytes"] for n, said in files.items())
            written = record.stat().st_mtime
        except (CheckpointError, OSError, KeyError, ValueError, TypeError, AttributeError):
            if not path.is_dir():
                continue  # the run removed it meanwhile
            whole, written = False, path.stat().st_mtime
        return Saved(step, str(path), max(now - written, 0.0), whole, len(found))
    return None


def last_evaluations(model_dir: Path) -> dict[str, dict[str, Any]]:
    """Return the step and metrics of the last evaluation in each of a model_dir's event logs."""
    found = {}
    for folder in sorted(model_dir.glob("eval*")):
        if folder.name != "eval" and not folder.name.startswith("eval_"):
            continue
        last = event_files.last_scalars(folder)
        if last is not None:
            name = folder.name.removeprefix("eval").removeprefix("_")
            found[name] = {"step": last[0], "metrics": last[1]}
    return found


def newer(
    told: Mapping[str, dict[str, Any]], logged: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the newest of each evaluation: another process may follow the run and log its own."""
    newest = dict(sorted({**logged, **told}.items()))
    for name, entry in logged.items():
        if entry["step"] > newest[name]["step"]:
            newest[name] = entry
    return newest

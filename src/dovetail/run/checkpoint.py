"""Checkpoints: `model_dir/checkpoints/<step>/`, whole or not there, checksummed, no pickle.

Each is a directory of `model.safetensors`, `optimizer.safetensors` and `state.json`, readable
without Dovetail. Saving has two halves, so that the second can run beside the training:
`snapshot` takes the tensors to the CPU, `write` brings them to the disk; `save` does both.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from dovetail.errors import CheckpointError
from dovetail.run import checkpoint_files as files
from dovetail.run.checkpoint_read import Checkpoint, latest_good_path, load, names, some, value
from dovetail.run.checkpoint_write import Snapshot, snapshot, write

__all__ = [
    "Checkpoint",
    "Snapshot",
    "compare_names",
    "latest",
    "latest_good",
    "latest_good_path",
    "listed",
    "load",
    "names",
    "save",
    "snapshot",
    "value",
    "write",
]


def save(
    model_dir: str | os.PathLike[str],
    step: int,
    model_state: Mapping[str, torch.Tensor],
    optimizer_state: Mapping[str, object],
    state: Mapping[str, object],
) -> Path:
    """Save a checkpoint: `snapshot` and `write`, one after the other.

    Args and errors are theirs.

    Returns:
      The checkpoint's directory.

    Example:

    >>> import tempfile
    >>> path = save(tempfile.mkdtemp(), 7, {"w": torch.ones(2)}, {}, {"seed": 1})
    >>> path.name, load(path).model["w"].tolist()
    ('0000000007', [1.0, 1.0])
    """
    return write(model_dir, snapshot(step, model_state, optimizer_state, state))


def listed(model_dir: str | os.PathLike[str]) -> list[Path]:
    """Return the directories of a model_dir's checkpoints, oldest step first (maybe none)."""
    try:
        return list(files.listed(files.folder_of(model_dir)).values())
    except OSError as error:
        raise CheckpointError(
            f"The checkpoints in {model_dir} cannot be listed: {error}. Look at its permissions."
        ) from error


def latest(model_dir: str | os.PathLike[str]) -> Path | None:
    """Return the directory of the checkpoint with the highest step, unverified, or None.

    `latest_good_path` gives the one that a run would go on from.
    """
    return (listed(model_dir) or [None])[-1]


def latest_good(
    model_dir: str | os.PathLike[str], report: Callable[[str], None]
) -> Checkpoint | None:
    """Load the newest checkpoint that is not damaged.

    Args:
      model_dir: of the run.
      report: is called with one message for each damaged checkpoint that is passed over.

    Returns:
      The checkpoint, or None where none was ever saved.

    Raises:
      CheckpointError: there are checkpoints and all are damaged (starting afresh over them is
        for the user to decide), or one cannot be read for another reason than damage.

    Example:

    >>> latest_good("no/such/folder", report=print) is None
    True
    """
    paths = listed(model_dir)
    for path in reversed(paths):
        try:
            return load(path)
        except files.DamagedError as error:
            report(f"Checkpoint {path.name} is passed over. {error}")
    if not paths:
        return None
    raise CheckpointError(
        f"All {len(paths)} checkpoints in {files.folder_of(model_dir)} are damaged. "
        "Restore one from a copy, or delete them (or choose another model_dir) to start afresh."
    )


def compare_names(
    expected: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]]
) -> str | None:
    """List how the tensors of a checkpoint differ from those of a definition.

    Args:
      expected: shapes by name, of the definition.
      found: shapes by name, of the checkpoint.

    Returns:
      None where they agree; else one line for each kind of difference, at most ten names each.

    Example:

    >>> print(compare_names({"a": (2,), "b": (3,)}, {"b": (4,), "c": ()}))
    missing in the checkpoint (1): a (2)
    only in the checkpoint (1): c ()
    of another shape (1): b (expected (3), found (4))
    """

    def shape(of: Sequence[int]) -> str:
        return f"({', '.join(map(str, of))})"

    missing = [f"{n} {shape(s)}" for n, s in expected.items() if n not in found]
    extra = [f"{n} {shape(s)}" for n, s in found.items() if n not in expected]
    other = [
        f"{n} (expected {shape(s)}, found {shape(found[n])})"
        for n, s in expected.items()
        if n in found and tuple(s) != tuple(found[n])
    ]
    kinds = {"missing in the checkpoint": missing, "only in the checkpoint": extra}
    kinds["of another shape"] = other
    lines = [f"{kind} ({len(of)}): {some(of)}" for kind, of in kinds.items() if of]
    if "keras" in sys.modules and _renumbered(expected, found):
        lines.append(
            "the names differ in their numbers alone: Keras counts unnamed layers on where a "
            "notebook makes them again. Give the layers names, or make the model in a function"
        )
    return "\n".join(lines) or None


def _renumbered(expected: Iterable[str], found: Iterable[str]) -> bool:
    one, other = set(expected), set(found)
    missing, extra = (
        sorted(re.sub(r"_\d+(?=\.|$)", "", name) for name in names)
        for names in (one - other, other - one)
    )
    return bool(missing) and missing == extra

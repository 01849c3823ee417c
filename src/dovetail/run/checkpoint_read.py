"""Reading a checkpoint back, every byte of it verified."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from dovetail.errors import CheckpointError, nearest
from dovetail.run import checkpoint_files as files
from dovetail.run.checkpoint_tensors import decode, unpack

_SHOWN = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint read back, every byte of it verified.

    Attributes:
      path: the directory it was read from.
      step: the global step, in finished optimizer steps.
      model: tensors by parameter and buffer name, on the CPU; tied names hold one tensor.
      optimizer: tensors and plain values, with the keys they were saved under.
      state: the caller's own, with "position" and "seed" where they were saved.
    """

    path: Path
    step: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    state: dict[str, Any]


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint's directory, verifying every byte of it.

    Raises:
      CheckpointError: there is none, it is damaged (the message names the file), it cannot be
        read, or a newer version of Dovetail wrote it.

    Example:

    >>> import tempfile
    >>> from dovetail.run.checkpoint import save
    >>> load(save(tempfile.mkdtemp(), 7, {"w": torch.ones(2)}, {}, {"seed": 1})).state
    {'seed': 1}
    """
    path = Path(path)
    content = _verified(path)
    loaded = {n: safetensors.torch.load_file(path / n) for n in (files.MODEL, files.OPTIMIZER)}
    saved = content["optimizer"]
    optimizer = unpack(loaded[files.OPTIMIZER], saved["names"], saved["aliases"], saved["strides"])
    values = {key: decode(value, optimizer) for key, value in saved["values"].items()}
    nested = _tensors_inside(saved["values"])
    return Checkpoint(
        path=path,
        step=content["step"],
        model=unpack(loaded[files.MODEL], **content["model"]),
        optimizer={**{k: t for k, t in optimizer.items() if k not in nested}, **values},
        state=_state(content),
    )


def state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what was saved beside the tensors; only `state.json` is read.

    Raises:
      CheckpointError: as `load`.

    Example:

    >>> import tempfile
    >>> from dovetail.run.checkpoint import save
    >>> state(save(tempfile.mkdtemp(), 7, {}, {}, {"position": 56}))
    {'position': 56}
    """
    return _state(_read_state(Path(path)))


def names(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of what `value` gives: "global_step", then the model's, in their order.

    Raises:
      CheckpointError: as `load`; only `state.json` is read.

    Example:

    >>> import tempfile
    >>> from dovetail.run.checkpoint import save
    >>> names(save(tempfile.mkdtemp(), 7, {"w": torch.ones(2)}, {}, {}))
    ['global_step', 'w']
    """
    return ["global_step", *_read_state(Path(path))["model"]["names"]]


def value(path: str | os.PathLike[str], name: str) -> torch.Tensor:
    """Return one tensor of a checkpoint, verified, by its name in the model.

    Args:
      path: the checkpoint's directory.
      name: a parameter or buffer, or "global_step" (int64, no dimensions).

    Raises:
      CheckpointError: no tensor has this name, or as `load`.

    Example:

    >>> import tempfile
    >>> from dovetail.run.checkpoint import save
    >>> path = save(tempfile.mkdtemp(), 7, {"w": torch.ones(2)}, {}, {})
    >>> value(path, "w"), value(path, "global_step")
    (tensor([1., 1.]), tensor(7))
    """
    path = Path(path)
    content = _read_state(path)
    if name == "global_step":
        return torch.tensor(content["step"])
    model = content["model"]
    if name not in model["names"]:
        hint = nearest(name, [*model["names"], "global_step"])
        raise CheckpointError(
            f"{path} holds no tensor named {name!r}.{hint} It holds {some(model['names'])}."
        )
    canonical = model["aliases"].get(name, name)
    files.verify(path / files.MODEL, content["files"][files.MODEL])
    with safetensors.safe_open(path / files.MODEL, framework="pt") as stored:
        tensor = stored.get_tensor(canonical)
    return unpack({canonical: tensor}, [canonical], {}, model["strides"])[canonical]


def latest_good_path(model_dir: str | os.PathLike[str]) -> Path | None:
    """Return the directory of the newest checkpoint that is not damaged, or None.

    What was verified once in this process is only looked at again if a file's size or time of
    change differs.

    Raises:
      CheckpointError: there are checkpoints and all are damaged, or one cannot be read.

    Example:

    >>> latest_good_path("no/such/folder") is None
    True
    """
    damage: files.DamagedError | None = None
    for path in reversed(files.listed(files.folder_of(model_dir)).values()):
        try:
            if _known_good.get(path.absolute()) != _stamp(path):
                _verified(path)
            return path
        except files.DamagedError as error:
            damage = damage or error
    if damage is not None:
        raise damage
    return None


_known_good: dict[Path, tuple[tuple[int, int], ...]] = {}
_TELLING = 1.0  # seconds: a change sooner after another may leave the file's time as it is


def _verified(path: Path) -> dict[str, Any]:
    """Return what state.json holds, after all files were compared with it."""
    stamp = _stamp(path)
    content = _read_state(path)
    for name in (files.MODEL, files.OPTIMIZER):
        files.verify(path / name, content["files"][name])
    if stamp and max(at for _, at in stamp) < (time.time() - _TELLING) * 1e9:
        _known_good[path.absolute()] = stamp
    return content


def _stamp(path: Path) -> tuple[tuple[int, int], ...]:
    """Sizes and times of change of a checkpoint's files; () where one cannot be looked at."""
    try:
        found = [(path / n).stat() for n in (files.MODEL, files.OPTIMIZER, files.STATE)]
    except OSError:
        return ()
    return tuple((one.st_size, one.st_mtime_ns) for one in found)


def _read_state(path: Path) -> dict[str, Any]:
    if not files.is_there(path):
        others = [p.name for p in files.listed(path.parent).values()]
        beside = f" Beside it there are {some(others)}." if others else ""
        raise CheckpointError(
            f"There is no checkpoint at {path}: give the directory of one, such as "
            f"MODEL_DIR/checkpoints/0000000100.{beside}"
        )
    content: dict[str, Any] = files.read_state(path / files.STATE)
    if content["format"] > files.FORMAT:
        raise CheckpointError(
            f"{path} was written by a newer Dovetail (format {content['format']}, this one "
            f"reads up to {files.FORMAT}): install a newer version."
        )
    return content


def _state(content: dict[str, Any]) -> dict[str, Any]:
    plain = {**content["state"], **{k: content[k] for k in files.LIFTED if k in content}}
    return {key: decode(value, {}) for key, value in plain.items()}


def _tensors_inside(values: object) -> set[str]:
    """The names that encoded values refer to: tensors that are part of a list, not entries."""
    if isinstance(values, list):
        return set().union(*map(_tensors_inside, values))
    if not isinstance(values, dict):
        return set()
    if "$tensor" in values:
        return {values["$tensor"]}
    return set().union(*map(_tensors_inside, values.values()))


def some(items: Sequence[str]) -> str:
    """Join names for a message, the first ten of them."""
    rest = f", and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + rest

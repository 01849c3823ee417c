"""The two halves of saving a checkpoint: take it to memory, bring it to the disk."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable, Container, Mapping
from pathlib import Path

import torch

from dovetail.errors import CheckpointError, StorageError
from dovetail.run import checkpoint_files as files
from dovetail.run import tensor_file
from dovetail.run.checkpoint_tensors import Packed, encode, pack

_SLACK = 1 << 20  # bytes for headers, file system blocks and directories


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of a run at one step, in memory and ready to be written.

    Attributes:
      step: the global step.
      model: its tensors.
      optimizer: its tensors, those inside its other values included.
      values: the optimizer's other values, as JSON.
      state: the caller's own, as JSON.
    """

    step: int
    model: Packed
    optimizer: Packed
    values: dict[str, object]
    state: dict[str, object]


def snapshot(
    step: int,
    model_state: Mapping[str, torch.Tensor],
    optimizer_state: Mapping[str, object],
    state: Mapping[str, object],
    *,
    kept: dict[str, dict[str, torch.Tensor]] | None = None,
    later: list[tuple[torch.Tensor, torch.Tensor]] | None = None,
    at_once: Container[str] = (),
) -> Snapshot:
    """Take what a checkpoint holds to the CPU.

    Args:
      step: the global step, in finished optimizer steps.
      model_state: tensors by name, as `network.state_dict()` gives.
      optimizer_state: tensors and plain values, as `run.optimizer_state.optimizer_state` gives.
      state: plain values of the caller's; "position" and "seed" have a place of their own.
      kept: an empty dict that is given again at each call: copies go to buffers kept in it, and
        training may go on at once. Without it, `write` has to come before the next step.
      later: with `kept`, gets the pairs (buffer, tensor) that the caller copies itself, before
        the tensors change and before `write`; without it all are copied here.
      at_once: names of the model's tensors that are copied here all the same.

    Returns:
      The snapshot, valid until the next call with the same `kept`.

    Raises:
      CheckpointError: a tensor or a value is of a kind that a checkpoint cannot hold.

    Example:

    >>> snapshot(3, {"w": torch.ones(2)}, {}, {"position": 96}).model.names
    ['w']
    """
    tensors: dict[str, torch.Tensor] = {}
    values: dict[str, object] = {}
    for key, value in optimizer_state.items():
        encoded = encode(key, value, tensors)
        if not isinstance(value, torch.Tensor):  # a tensor is found in its file under its key
            values[key] = encoded
    strays: dict[str, torch.Tensor] = {}
    plain = {key: encode(f"state[{key!r}]", value, strays) for key, value in state.items()}
    if strays:
        raise CheckpointError(
            f"{min(strays)} is a tensor: the state beside the model holds plain values only. "
            "Give tensors with the model's or the optimizer's."
        )
    buffers = {} if kept is None else kept
    return Snapshot(
        step=int(step),
        model=pack(
            model_state,
            None if kept is None else buffers.setdefault("model", {}),
            later,
            at_once,
        ),
        optimizer=pack(
            tensors, None if kept is None else buffers.setdefault("optimizer", {}), later
        ),
        values=values,
        state=plain,
    )


def write(
    model_dir: str | os.PathLike[str],
    taken: Snapshot,
    *,
    confirm: Callable[[], object] | None = None,
) -> Path:
    """Write a snapshot as a checkpoint; one of the same step is replaced when the new is whole.

    Args:
      model_dir: of the run.
      taken: the snapshot.
      confirm: called when all is written and before it takes its place; what it raises leaves
        nothing of the new checkpoint.

    Returns:
      The checkpoint's directory.

    Raises:
      StorageError: no room, or the disk failed. Checkpoints that were there before are untouched.
      CheckpointError: no permission, or something is in the way; likewise.

    Example:

    >>> import tempfile
    >>> write(tempfile.mkdtemp(), snapshot(3, {"w": torch.ones(2)}, {}, {})).name
    '0000000003'
    """
    folder = files.folder_of(model_dir)

    def fill(path: Path) -> None:
        content: dict[str, object] = {
            "format": files.FORMAT,
            "step": taken.step,
            **{key: taken.state[key] for key in files.LIFTED if key in taken.state},
            "state": {k: v for k, v in taken.state.items() if k not in files.LIFTED},
            "files": {},
            "model": _described(taken.model),
            "optimizer": {**_described(taken.optimizer), "values": taken.values},
        }
        recorded = content["files"] = {}
        for name, packed in ((files.MODEL, taken.model), (files.OPTIMIZER, taken.optimizer)):
            recorded[name] = tensor_file.write(path / name, packed.tensors)
        files.write_state(path / files.STATE, content)

    size = taken.model.size + taken.optimizer.size + _SLACK
    size += 256 * (len(taken.model.names) + len(taken.optimizer.names) + len(taken.values))
    try:
        return files.publish(folder, f"{taken.step:010d}", fill, size=size, confirm=confirm)
    except StorageError:
        raise
    except OSError as error:
        what = f"The checkpoint of step {taken.step} could not be saved in {folder}: {error}. "
        untouched = "Checkpoints saved before are untouched."
        if error.errno in _NOT_THE_DISK:
            raise CheckpointError(
                f"{what}Give yourself write permission there, or choose another model_dir. "
                f"{untouched}"
            ) from error
        raise StorageError(
            f"{what}Make room or mend the disk, then start the same command again: it goes on "
            f"from the newest of them. {untouched}"
        ) from error


_NOT_THE_DISK = {
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG),
}


def _described(packed: Packed) -> dict[str, object]:
    return {"names": packed.names, "aliases": packed.aliases, "strides": packed.strides}

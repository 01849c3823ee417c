"""Which checkpoints are kept: the newest, some for ever, and the best by a metric.

`checkpoints/metrics.json` holds what the rules need and a directory of tensors does not say: the
metrics of evaluations by step, when checkpoints were saved, and which are kept for their time. It
is replaced as a whole, so a kill leaves the old or the new, and it lies in model_dir, so that a
restarted run remembers what was best.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dovetail.errors import CheckpointError, StorageError
from dovetail.run import checkpoint_files as files
from dovetail.run.better import lower_is_better
from dovetail.run.checkpoint_read import latest_good_path
from dovetail.run.config import RunConfig

NAME = "metrics.json"
_lock = threading.Lock()  # evaluations are reported by one thread while another deletes


@dataclasses.dataclass(frozen=True)
class Policy:
    """What is kept beside the newest checkpoint of all. The rules add up.

    Attributes:
      last: how many of the newest; 0 keeps all.
      every_steps: all whose step is a multiple of it; None: none for their step.
      every_hours: one in so many hours, for ever; None: none for their time.
      best: how many of the best.
      metric: by which they are the best; of an evaluation with a name, "name/metric".
      lower: whether a lower value is a better one.

    Example:

    >>> Policy.of(RunConfig(keep_checkpoint_best=1, best_metric="accuracy")).lower
    False
    """

    last: int = 5
    every_steps: int | None = None
    every_hours: float | None = None
    best: int = 0
    metric: str = "loss"
    lower: bool = True

    @staticmethod
    def of(config: RunConfig) -> Policy:
        """Return what a run's settings say."""
        return Policy(
            last=config.keep_checkpoint_max,
            every_steps=config.keep_checkpoint_every_steps,
            every_hours=config.keep_checkpoint_every_n_hours,
            best=config.keep_checkpoint_best,
            metric=config.best_metric,
            lower=lower_is_better(config.best_metric, config.best_is),
        )


def report(
    model_dir: str | os.PathLike[str], step: int, metrics: Mapping[str, Any], name: str = ""
) -> None:
    """Record the metrics of an evaluation of a step, by which the best are kept.

    Args:
      model_dir: of the run.
      step: of the parameters that were evaluated.
      metrics: by name; what is no single number is left out.
      name: of the evaluation, where it has one: its metrics are then called "name/metric".

    Raises:
      StorageError: they cannot be written.

    Example:

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> report(folder, 100, {"loss": 0.5, "counts": [1, 2]}, name="held_out")
    >>> reported(folder)
    {100: {'held_out/loss': 0.5}}
    """
    numbers = {f"{name}/{key}" if name else key: _number(value) for key, value in metrics.items()}
    with _changed(model_dir) as record:
        found = record["metrics"].setdefault(str(step), {})
        found.update({key: value for key, value in numbers.items() if value is not None})


def reported(model_dir: str | os.PathLike[str]) -> dict[int, dict[str, float]]:
    """Return the metrics that were reported, by step, rising."""
    metrics = _read(files.folder_of(model_dir))["metrics"]
    return {int(step): dict(metrics[step]) for step in sorted(metrics, key=int)}


def forget(model_dir: str | os.PathLike[str], step: int) -> None:
    """Drop what is recorded of a step and of later ones: they are about to be trained again."""
    folder = files.folder_of(model_dir)
    with _lock:
        record = _read(folder)
    if any(int(s) >= step for part in ("metrics", "saved") for s in record[part]):
        with _changed(model_dir) as record:
            for part in ("metrics", "saved"):
                record[part] = {s: v for s, v in record[part].items() if int(s) < step}
            record["hourly"] = [s for s in record["hourly"] if s < step]


def best(model_dir: str | os.PathLike[str], policy: Policy) -> list[int]:
    """Return the steps of the best checkpoints that are there, the best first.

    Equal ones: the earlier is the better. Values that are not finite are never among them.
    """
    steps = files.listed(files.folder_of(model_dir))
    return _best(_read(files.folder_of(model_dir)), list(steps), policy)


def prune(
    model_dir: str | os.PathLike[str],
    policy: Policy,
    *,
    current: Path,
    clock: Callable[[], float] = time.time,
) -> list[Path]:
    """Delete the checkpoints that no rule keeps.

    Those with a higher step than `current` are left alone: they are there where a run went back
    past a damaged one, and are replaced when it gets there again.

    Args:
      model_dir: of the run.
      policy: the rules.
      current: the one saved last, which is always kept.
      clock: the time, in seconds since 1970.

    Returns:
      The directories that were deleted.

    Raises:
      CheckpointError, StorageError: one cannot be deleted, or the record cannot be written.

    Example:

    >>> import tempfile
    >>> from dovetail.run import checkpoint
    >>> folder = tempfile.mkdtemp()
    >>> for step in (10, 20, 30, 40):
    ...     path = checkpoint.save(folder, step, {}, {}, {})
    ...     gone = prune(folder, Policy(last=1, every_steps=20), current=path)
    >>> [path.name for path in checkpoint.listed(folder)]
    ['0000000020', '0000000040']
    """
    folder = files.folder_of(model_dir)
    try:
        files.settle(folder)
        there = files.listed(folder)
        step = int(current.name)
        old = [s for s in there if s <= step]
        if policy.every_hours is None and not (folder / NAME).exists():
            record = _read(folder)  # nothing is recorded, and nothing needs to be
        else:
            with _changed(model_dir) as record:
                _note_time(record, step, policy.every_hours, clock())
                _drop_gone(record, old)
        return _deleted(there, {*_kept(record, old, policy), step}, old, policy)
    except StorageError:
        raise
    except OSError as error:
        raise _kept_in_place(folder, error) from error


def make_room(model_dir: str | os.PathLike[str], policy: Policy, coming: int) -> list[Path]:
    """Delete what `prune` would delete once the checkpoint of a coming step is there.

    For a disk that is full: the newest good one stays in any case.

    Returns:
      The directories that were deleted.

    Raises:
      CheckpointError: one cannot be deleted.
    """
    folder = files.folder_of(model_dir)
    newest = latest_good_path(model_dir)
    if newest is None:
        return []
    try:
        there = files.listed(folder)
        old = [s for s in there if s < coming]
        kept = _kept(_read(folder), [*old, coming], policy)
        return _deleted(there, {*kept, int(newest.name), max(there)}, old, policy)
    except OSError as error:
        raise _kept_in_place(folder, error) from error


def _deleted(
    there: Mapping[int, Path], kept: set[int], steps: list[int], policy: Policy
) -> list[Path]:
    surplus = [there[s] for s in steps if s not in kept] if policy.last else []
    for path in surplus:
        files.delete(path)
    return surplus


def _kept_in_place(folder: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"Old checkpoints in {folder} cannot be deleted: {error}. Give yourself write "
        "permission there, or set keep_checkpoint_max to 0."
    )


def _kept(record: Mapping[str, Any], steps: list[int], policy: Policy) -> list[int]:
    kept = steps[-policy.last :] if policy.last else list(steps)
    if policy.every_steps:
        kept += [step for step in steps if step % policy.every_steps == 0]
    if policy.every_hours is not None:
        kept += record["hourly"]
    return kept + _best(record, steps, policy)


def _best(record: Mapping[str, Any], steps: list[int], policy: Policy) -> list[int]:
    if not policy.best:
        return []
    values = {step: record["metrics"].get(str(step), {}).get(policy.metric) for step in steps}
    sign = 1 if policy.lower else -1
    ranked = sorted(
        (sign * value, step)
        for step, value in values.items()
        if value is not None and math.isfinite(value)
    )
    return [step for _, step in ranked[: policy.best]]


def _note_time(record: dict[str, Any], step: int, hours: float | None, now: float) -> None:
    record["saved"][str(step)] = now
    if hours is None:
        return
    before = [record["saved"][str(s)] for s in record["hourly"] if str(s) in record["saved"]]
    # The first checkpoint that is known begins the first span.
    since = max(before, default=min(record["saved"].values()))
    if now - since >= hours * 3600 and step not in record["hourly"]:
        record["hourly"].append(step)


def _drop_gone(record: dict[str, Any], there: list[int]) -> None:
    """Drop what is recorded of checkpoints that were deleted, so that the record stays small."""
    alive = {str(step) for step in there}
    newest = max(there, default=0)
    first = min(record["saved"], key=int, default=None)  # it began the first span of hours
    for part in ("metrics", "saved"):
        record[part] = {
            step: value
            for step, value in record[part].items()
            if step in alive or int(step) > newest or (part == "saved" and step == first)
        }


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # a list, text, a tensor of several
        return None


def _read(folder: Path) -> dict[str, Any]:
    path = folder / NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            "metrics": {str(int(s)): dict(values) for s, values in found["metrics"].items()},
            "saved": {str(int(s)): float(at) for s, at in found["saved"].items()},
            "hourly": [int(step) for step in found["hourly"]],
        }
    except (FileNotFoundError, NotADirectoryError):
        return {"metrics": {}, "saved": {}, "hourly": []}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}): which checkpoints are the best is not known. Restore it "
            "from a copy; or delete it, and what is the best counts from then on."
        ) from error


@contextlib.contextmanager
def _changed(model_dir: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Read the record, and write it if the block changed it."""
    folder = files.folder_of(model_dir)
    with _lock:
        record = _read(folder)
        before = json.dumps(record)
        yield record
        text = json.dumps(record)
        if text == before:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            aside = folder / f".{NAME}"
            aside.write_text(text + "\n", encoding="utf-8")
            files.sync(aside)
            aside.replace(folder / NAME)
            files.sync(folder)
        except OSError as error:
            kind = CheckpointError if error.errno in (errno.EACCES, errno.EPERM) else StorageError
            raise kind(
                f"{folder / NAME} could not be written: {error}. Make room, mend the disk or give "
                "yourself permission, then start the same command again."
            ) from error

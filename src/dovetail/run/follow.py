"""Evaluating the checkpoints of a run that another process trains, as they come."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import safetensors

from dovetail.errors import CheckpointError, DovetailError
from dovetail.run import checkpoint
from dovetail.run.checkpoint_files import DamagedError
from dovetail.run.estimator import Estimator
from dovetail.run.saving import step_of
from dovetail.run.specs import EvalSpec
from dovetail.run.status import status
from dovetail.run.summaries import read_scalars
from dovetail.run.train_and_evaluate import evaluations_of

_ENDED = ("done", "stopped", "failed", "killed")
_POLL_SECS = 1.0


def follow(
    estimator: Estimator,
    spec: EvalSpec,
    *,
    timeout: float | None = None,
    note: Callable[[str], None] = warnings.warn,
    poll_secs: float = _POLL_SECS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[tuple[int, dict[str, Any]]]:
    """Evaluate each checkpoint of a run but that of step 0, in the order of steps, until it ends.

    Those that are in the event log already are not evaluated again. The program is built once.

    Args:
      estimator: of the run's definition and model_dir; the run itself may be on another machine
        that has the same disk.
      spec: what is evaluated, and what is exported.
      timeout: seconds without a new checkpoint after which it ends in any case; None: none, so
        that of a run that keeps no heartbeat it waits for ever.
      note: is told of what is left out, and how the run ended.
      poll_secs: how often is looked.
      clock, sleep: seconds, never going back; and how to let them go by.

    Yields:
      step, metrics: of each evaluation.

    Raises:
      CheckpointError: a checkpoint is of another definition, or none came before the timeout.
    """
    folder = Path(estimator.model_dir)
    evaluations = evaluations_of(estimator, spec)
    seen = {0, *_logged(Path(estimator.eval_dir(spec.name)))}
    started = newest = clock()
    evaluated_at: float | None = None
    last: Path | None = None
    while True:
        # Asked first: what was saved before the end is listed after it.
        ended = _how_it_ended(folder)
        fresh = [path for path in checkpoint.listed(folder) if step_of(path) not in seen]
        if fresh:
            newest = clock()
        due = started + spec.start_delay_secs
        if evaluated_at is not None:
            due = max(due, evaluated_at + spec.throttle_secs)
        if fresh and (clock() >= due or ended is not None):
            path = fresh[0]
            seen.add(step_of(path))
            metrics = _evaluated(estimator, spec, path, note)
            evaluated_at = newest = clock()
            if metrics is not None:
                evaluations.take(spec, step_of(path), metrics)
                evaluations.after_written(path)
                last = path
                yield step_of(path), metrics
            continue
        if ended is not None and not fresh:
            if ended.startswith("done"):
                evaluations.finish(last)
            note(f"The run in {folder} has ended: {ended}.")
            return
        if timeout is not None and clock() - newest >= timeout:
            if len(seen) == 1:
                raise CheckpointError(
                    f"No checkpoint came to {folder} in {timeout:g} seconds. Look whether the run "
                    f"lives (dovetail status {folder}), or raise the timeout."
                )
            note(f"No new checkpoint came to {folder} in {timeout:g} seconds.")
            return
        sleep(poll_secs)


def _evaluated(
    estimator: Estimator, spec: EvalSpec, path: Path, note: Callable[[str], None]
) -> dict[str, Any] | None:
    """Evaluate a checkpoint; None where it is damaged, or is deleted while it is read."""
    try:
        return estimator.evaluate(
            spec.input_fn,
            steps=spec.steps,
            hooks=spec.hooks,
            checkpoint_path=path,
            name=spec.name,
        )
    except (CheckpointError, OSError, safetensors.SafetensorError) as error:
        if not path.is_dir():
            note(f"Checkpoint {path.name} was deleted by the run before it could be evaluated.")
            return None
        if isinstance(error, DamagedError):
            note(f"Checkpoint {path.name} is left out. {error}")
            return None
        raise


def _logged(folder: Path) -> set[int]:
    return {step for points in read_scalars(folder).values() for step, _ in points}


def _how_it_ended(model_dir: Path) -> str | None:
    """Say how a run ended; None if it lives, or if that is not known."""
    try:
        found = status(model_dir)
    except DovetailError:
        return None  # it has not begun
    if found.standing not in _ENDED:
        return None
    return f"{found.standing} ({found.why})" if found.why else found.standing

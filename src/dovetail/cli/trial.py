"""Two quick trials of a definition: one batch of everything, and the same few batches overfitted.

Imports torch: `train` imports it when a trial is asked for.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dovetail.cli.settings import in_model_dir, new_folder, not_left_empty, with_new_model_dir
from dovetail.cli.show import duration, number, plural, say, shape
from dovetail.cli.values import show_values
from dovetail.run.estimator import Estimator
from dovetail.run.hooks import Hook, Run
from dovetail.run.resolve import Resolved

PASSES = 100
"""How often the batches of an overfit come where nothing else is said."""


def run_one_of_everything(
    resolved: Resolved, data: str, eval_data: Mapping[str, str] | None = None, *, verbose: bool
) -> None:
    """Train, save, restore, evaluate and predict one batch in a folder that is removed after.

    Args:
      resolved: the values; their model_dir is left alone.
      data: records.
      eval_data: records to evaluate on, by name; None or empty: those of the training.
      verbose: show every value.
    """
    with tempfile.TemporaryDirectory(prefix="dovetail-") as folder:
        resolved = in_model_dir(resolved, Path(folder) / "run", "a temporary one, removed after")
        resolved = replace(resolved, config=resolved.config.replace(progress=False))
        resolved = _with_length(resolved, max_steps=1, origin="command line --fast-dev-run")
        show_values(resolved, training=True, verbose=verbose)
        trained = Estimator.from_resolved(resolved).train_run(data, max_steps=1, command=sys.argv)
        say(f"train: 1 batch of {resolved.batch_size}, loss {number(trained.loss)}")
        # Another Estimator has nothing in memory: all that it knows it read from the checkpoint.
        estimator = Estimator.from_resolved(resolved)
        evaluated = {
            name: estimator.evaluate(folder, steps=1, name=name or None)
            for name, folder in (eval_data or {"": data}).items()
        }
        saved = estimator.get_variable_names()
        say(f"checkpoint: saved, verified and restored, {plural(len(saved), 'value')}")
        for name, metrics in evaluated.items():
            del metrics["global_step"]
            shown = ", ".join(f"{key} {number(value)}" for key, value in metrics.items())
            of = f" of {name}" if name else ""
            say(f"evaluate{of}: 1 batch of {resolved.eval_batch_size}, {shown}")
        (batch,) = estimator.predict(data, yield_single_examples=False, steps=1)
        shown = ", ".join(f"{name} {shape(array.shape)}" for name, array in batch.items())
        say(f"predict: 1 batch of {resolved.eval_batch_size}, {shown}")
    say("One batch of everything works; nothing was kept.")


def overfit(resolved: Resolved, data: str, batches: int, *, verbose: bool) -> None:
    """Train again and again on the first batches; a model that can learn drives its loss down.

    It is kept apart from the run that it tries: in `overfit/<date>_<time>` of the model_dir.

    Args:
      resolved: the values; without a length, the batches come `PASSES` times.
      data: records.
      batches: how many.
      verbose: show every value.
    """
    if resolved.config.model_dir is None:
        resolved = with_new_model_dir(resolved)
    else:
        folder = new_folder(Path(resolved.config.model_dir) / "overfit")
        resolved = in_model_dir(resolved, folder, "a new folder for this trial")
    if resolved.max_steps is None and resolved.epochs is None:
        resolved = _with_length(resolved, epochs=PASSES, origin="default of --overfit-batches")
    first = _FirstLoss()
    started = time.monotonic()
    with not_left_empty(resolved.config.model_dir):
        estimator = Estimator.from_resolved(resolved)
        show_values(resolved, training=True, verbose=verbose)
        trained = estimator.train_run(
            data,
            hooks=[first],
            max_steps=resolved.max_steps,
            epochs=resolved.epochs,
            limit=batches * resolved.batch_size,
            command=sys.argv,
        )
    same = "batch" if batches == 1 else f"{batches} batches"
    say(
        f"Trained {plural(trained.steps, 'step')} on the same {same} in "
        f"{duration(time.monotonic() - started)}: the loss went from {number(first.loss)} to "
        f"{number(trained.loss)}."
    )
    say(f"Checkpoint: {trained.checkpoint}")


def _with_length(
    resolved: Resolved,
    *,
    origin: str,
    max_steps: int | None = None,
    epochs: float | None = None,
) -> Resolved:
    name = "epochs" if max_steps is None else "max_steps"
    origins = {**resolved.origins, name: origin}
    return replace(resolved, max_steps=max_steps, epochs=epochs, origins=origins)


class _FirstLoss(Hook):
    """Keeps the loss of the first step."""

    loss: float | None = None

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        if self.loss is None:
            self.loss = float(output["loss"])

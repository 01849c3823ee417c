"""What `dovetail run` does in each mode, once the params file is read.

Imports torch: `run` imports it when it is called.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dovetail.cli.evaluate import show_metrics
from dovetail.cli.predict import process
from dovetail.cli.prediction_files import opened
from dovetail.cli.settings import with_existing_model_dir
from dovetail.cli.show import duration, number, plural, say, say_on_stderr
from dovetail.cli.train import carry_out
from dovetail.cli.values import show_values
from dovetail.definition.modes import ModeKeys
from dovetail.errors import CheckpointError
from dovetail.run import checkpoint, rehearsal
from dovetail.run.checkpoint_files import DamagedError
from dovetail.run.estimator import Estimator
from dovetail.run.evaluations import line
from dovetail.run.params_folder import ParamsFolder
from dovetail.run.saving import step_of
from dovetail.run.specs import EvalSpec

_REHEARSED = {
    "train": (ModeKeys.TRAIN,),
    "train_and_eval": (ModeKeys.TRAIN, ModeKeys.EVAL),
    "eval": (ModeKeys.EVAL,),
    "eval_all": (ModeKeys.EVAL,),
    "predict": (ModeKeys.PREDICT,),
}


def train(
    folder: ParamsFolder,
    steps: int | None,
    eval_steps: int | None,
    *,
    evaluated: bool,
    verbose: bool,
) -> None:
    """Train; with evaluations beside it if `evaluated`.

    Args:
      folder: the definition, its inputs and all values.
      steps: how many steps more.
      eval_steps: how many batches an evaluation has.
      evaluated: evaluate after each checkpoint.
      verbose: show every value.
    """
    resolved = folder.resolved
    if steps is not None:
        resolved = replace(
            resolved,
            max_steps=_step(resolved.config.model_dir) + steps,
            epochs=None,
            origins={**resolved.origins, "max_steps": f"command line --steps {steps}"},
        )
    specs = [EvalSpec(folder.input_fn(ModeKeys.EVAL), eval_steps)] if evaluated else []
    carry_out(resolved, folder.input_fn(ModeKeys.TRAIN), specs, [], verbose=verbose)


def evaluate(
    folder: ParamsFolder,
    checkpoint_path: str | None,
    steps: int | None,
    *,
    every: bool,
    verbose: bool,
) -> None:
    """Evaluate one checkpoint, or all that are kept, in the order of steps.

    Args:
      folder: the definition, its inputs and all values.
      checkpoint_path: which; None: the newest.
      steps: how many batches; None: all.
      every: evaluate each checkpoint that is kept; one that is damaged is left out with a note.
      verbose: show every value.

    Raises:
      CheckpointError: there is none, or all are damaged.
    """
    input_fn = folder.input_fn(ModeKeys.EVAL)
    resolved = with_existing_model_dir(folder.resolved, checkpoint_path)
    if verbose:
        show_values(resolved, training=False, verbose=True)
        say()
    estimator = Estimator.from_resolved(resolved)
    if not every:
        show_metrics(estimator.evaluate(input_fn, steps, checkpoint_path=checkpoint_path))
        return
    done = 0
    paths = checkpoint.listed(estimator.model_dir)
    for path in paths:
        try:
            metrics = estimator.evaluate(input_fn, steps, checkpoint_path=path)
        except DamagedError as error:
            say_on_stderr(f"Checkpoint {path.name} is left out. {error}")
            continue
        done += 1
        say(line("", step_of(path), metrics))
    if not done:
        found = "All checkpoints in it are damaged" if paths else "There is no checkpoint in it"
        raise CheckpointError(f"{estimator.model_dir}: {found}: nothing could be evaluated.")


def predict(folder: ParamsFolder, checkpoint_path: str | None) -> None:
    """Write predictions as JSON lines to `predict/<step>.jsonl` in model_dir.

    Args:
      folder: the definition, its inputs and all values.
      checkpoint_path: of which checkpoint; None: the newest that is not damaged.

    Raises:
      CheckpointError: there is none.
    """
    input_fn = folder.input_fn(ModeKeys.PREDICT)
    resolved = with_existing_model_dir(folder.resolved, checkpoint_path)
    estimator = Estimator.from_resolved(resolved)
    path = checkpoint_path or estimator.latest_checkpoint()
    batches = estimator.predict(input_fn, checkpoint_path=path, yield_single_examples=False)
    name = Path(path).resolve().name if path is not None else "none"  # then predict refuses
    output = Path(estimator.model_dir) / "predict" / f"{name}.jsonl"
    rows = 0
    with opened(str(output)) as write:
        for batch in batches:
            rows += write(batch)
            process(estimator.definition, batch)
    say(f"{plural(rows, 'prediction')} in {output}")


def rehearse(folder: ParamsFolder, mode: str, *, compiled: bool) -> None:
    """Take first batches through the definition, and say what was found; nothing is kept.

    Args:
      folder: the definition, its inputs and all values.
      mode: of `dovetail run`.
      compiled: compile for the device.
    """
    resolved = folder.resolved
    kinds = _REHEARSED[mode]
    done = rehearsal.rehearse(
        resolved, [(kind, folder.input_fn(kind)) for kind in kinds], compiled=compiled
    )
    for found in done:
        loss = f", loss {number(found.loss)}" if found.loss is not None else ""
        what = "compiled" if compiled else "one batch"
        say(
            f"{ModeKeys(found.mode).name}: {what} of {plural(found.examples, 'example')}{loss}, "
            f"in {duration(found.seconds)}"
        )
        for name, shape in found.shapes.items():
            say(f"  {name}: {shape}")
    say(f"{plural(done[0].parameters, 'parameter')}; no step was kept and nothing was written.")
    if compiled and resolved.config.execution != "compiled":
        say("To run it so: --execution compiled, or runconfig.execution in the params file.")


def _step(model_dir: str | None) -> int:
    """Return the step that a run in model_dir goes on from."""
    newest = checkpoint.latest_good_path(model_dir) if model_dir is not None else None
    return step_of(newest) if newest is not None else 0

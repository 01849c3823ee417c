"""`dovetail train`: trains, or goes on training."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dovetail.cli.evaluations import (
    EARLY_STOPPING,
    EVAL_DATA,
    EVAL_STEPS,
    EXPORT,
    early_stopping,
    eval_specs,
    evaluation_data,
)
from dovetail.cli.flags import BATCH_SIZE, DATA, MODEL, PARAMS, RUN_FLAGS, SETTINGS, VERBOSE
from dovetail.cli.settings import not_left_empty, put_together, with_new_model_dir
from dovetail.cli.verb import verb

if TYPE_CHECKING:
    from dovetail.run.early_stopping import EarlyStopping
    from dovetail.run.resolve import Resolved
    from dovetail.run.specs import EvalSpec


@verb(run_flags=tuple(RUN_FLAGS))
def train(
    model: MODEL,
    data: DATA,
    flags: dict[str, Any],
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", metavar="N", min=1, help="The step to end at.")
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option("--epochs", metavar="N", help="How often all records come; 1."),
    ] = None,
    batch_size: BATCH_SIZE = None,
    params: PARAMS = None,
    settings: SETTINGS = None,
    eval_data: EVAL_DATA = None,
    eval_steps: EVAL_STEPS = None,
    export: EXPORT = None,
    stop_early: EARLY_STOPPING = None,
    fast_dev_run: Annotated[
        bool,
        typer.Option("--fast-dev-run", help="One batch of everything, and nothing is kept."),
    ] = False,
    overfit_batches: Annotated[
        int | None,
        typer.Option(
            "--overfit-batches",
            metavar="N",
            min=1,
            help="Train on the first N batches again and again.",
        ),
    ] = None,
    verbose: VERBOSE = False,
) -> None:
    """Train a model; where its model_dir holds a checkpoint, go on from that.

    The same command given again ends with the same parameters as one that was never stopped.

    Example:
        dovetail train digits.py --data demo/records/train \\
            --model-dir demo/model --epochs 2 --set optimizer.lr=0.001 \\
            --eval-data demo/records/test --export best
    """
    if max_steps is not None and epochs is not None:
        raise typer.BadParameter("give --max-steps or --epochs, not both.")
    if fast_dev_run and overfit_batches is not None:
        raise typer.BadParameter("give --fast-dev-run or --overfit-batches, not both.")
    if overfit_batches is not None and eval_data:
        raise typer.BadParameter(
            "--overfit-batches trains on some batches for themselves: leave out --eval-data."
        )
    folders = evaluation_data(eval_data)
    hooks = early_stopping(stop_early, folders)
    given = {**flags, "max_steps": max_steps, "epochs": epochs, "batch_size": batch_size}
    resolved = put_together(model, params=params, settings=settings, flags=given)
    specs = eval_specs(folders, eval_steps, export, resolved)
    if fast_dev_run:
        from dovetail.cli.trial import run_one_of_everything

        run_one_of_everything(resolved, data, folders, verbose=verbose)
    elif overfit_batches is not None:
        from dovetail.cli.trial import overfit

        overfit(resolved, data, overfit_batches, verbose=verbose)
    else:
        carry_out(resolved, data, specs, hooks, verbose=verbose)


def carry_out(
    resolved: Resolved,
    data: Any,
    specs: list[EvalSpec],
    hooks: list[EarlyStopping],
    *,
    verbose: bool,
) -> None:
    """Train with everything put together, and say what came of it.

    Args:
      resolved: the values; without a model_dir they get one of their own.
      data: records, or an input_fn.
      specs: what is evaluated beside the training.
      hooks: of the training.
      verbose: show every value.
    """
    from dovetail.cli.show import duration, plural, say, say_on_stderr
    from dovetail.cli.values import show_values
    from dovetail.run.estimator import Estimator
    from dovetail.run.evaluations import line
    from dovetail.run.train_and_evaluate import conclude, evaluations_of

    made = None
    if resolved.config.model_dir is None:
        resolved = with_new_model_dir(resolved)
        made = resolved.config.model_dir
    started = time.monotonic()
    with not_left_empty(made):
        estimator = Estimator.from_resolved(resolved)
        records = not callable(data)
        show_values(resolved, training=True, records=records, verbose=verbose)
        evaluations = evaluations_of(estimator, specs) if specs else None
        if resolved.config.keep_checkpoint_best and not specs:
            say_on_stderr("--keep-checkpoint-best goes by evaluations: give --eval-data too.")
        try:
            trained = estimator.train_run(
                data,
                hooks=hooks,
                max_steps=resolved.max_steps,
                epochs=resolved.epochs,
                command=sys.argv,
                evaluations=evaluations,
            )
            if evaluations is not None:
                conclude(estimator, evaluations, trained)
        except (KeyboardInterrupt, SystemExit):
            _say_how_to_go_on(estimator.model_dir)
            raise
    if trained.steps:
        seconds = duration(time.monotonic() - started)
        say(
            f"Trained {plural(trained.steps, 'step')}, to step {trained.step}, in {seconds}; "
            f"the last loss is {trained.loss:.4g}."
        )
    elif trained.why == "nothing to do":
        ends = resolved.max_steps or trained.step
        say(f"There is nothing left to train: step {trained.step} of {ends} is done.")
    if trained.why not in _ENDS:
        say(f"It ended at step {trained.step}: {trained.why}.")
    if evaluations is not None:
        for name, metrics in evaluations.metrics.items():
            say(f"{line(name, metrics['global_step'], metrics)}.")
    say(f"Checkpoint: {trained.checkpoint}")
    for path in evaluations.exports if evaluations is not None else ():
        say(f"Export: {path}")


_ENDS = ("max_steps", "input ended", "nothing to do", "signal")


def _say_how_to_go_on(model_dir: str) -> None:
    from dovetail.cli.show import say_on_stderr
    from dovetail.run import checkpoint

    newest = checkpoint.latest(model_dir)
    if newest is not None:
        say_on_stderr(
            f"Stopped; step {int(newest.name)} is saved. The same command with "
            f"--model-dir {model_dir} goes on from there."
        )

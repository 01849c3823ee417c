"""`dovetail evaluate`: the loss and metrics of a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dovetail.cli.flags import (
    BATCH_SIZE,
    CHECKPOINT,
    DATA,
    MODEL,
    PARAMS,
    RUN_FLAGS,
    SETTINGS,
    VERBOSE,
)
from dovetail.cli.settings import put_together, with_existing_model_dir
from dovetail.cli.verb import verb

if TYPE_CHECKING:
    from dovetail.run.estimator import Estimator


@verb(run_flags=tuple(name for name, flag in RUN_FLAGS.items() if not flag.training_only))
def evaluate(
    model: MODEL,
    data: DATA,
    flags: dict[str, Any],
    checkpoint_path: CHECKPOINT = None,
    eval_steps: Annotated[
        int | None,
        typer.Option("--eval-steps", metavar="N", min=1, help="How many batches; all of the data."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="Of this evaluation: its event log is in eval_NAME."
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", help="Evaluate each new checkpoint of a run elsewhere, until it ends."
        ),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0,
            help="With --follow: end after so long without a new checkpoint; never.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    batch_size: BATCH_SIZE = None,
    params: PARAMS = None,
    settings: SETTINGS = None,
    verbose: VERBOSE = False,
) -> None:
    """Evaluate a checkpoint: its loss, and the metrics that the model file names.

    With --follow each new checkpoint of a run, in order, but those that are evaluated already.

    Example:
        dovetail evaluate digits.py --data demo/records/test \\
            --model-dir demo/model
    """
    from dovetail.cli.show import print_json, say
    from dovetail.cli.values import show_values
    from dovetail.run.estimator import Estimator

    if follow and checkpoint_path is not None:
        raise typer.BadParameter("give --follow or --checkpoint-path, not both.")
    if timeout is not None and not follow:
        raise typer.BadParameter("--timeout is about following a run: give --follow too.")
    resolved = put_together(
        model, params=params, settings=settings, flags={**flags, "batch_size": batch_size}
    )
    resolved = with_existing_model_dir(resolved, checkpoint_path)
    if verbose and not as_json:
        show_values(resolved, training=False, verbose=True)
        say()
    estimator = Estimator.from_resolved(resolved)
    if follow:
        _follow(estimator, data, eval_steps, name, timeout, as_json=as_json)
        return
    metrics = estimator.evaluate(data, steps=eval_steps, checkpoint_path=checkpoint_path, name=name)
    if as_json:
        print_json(metrics)
        return
    show_metrics(metrics)


def show_metrics(metrics: Mapping[str, Any]) -> None:
    """Print the metrics of an evaluation as a table, the loss and the step last."""
    from dovetail.cli.show import table

    order = sorted(metrics, key=lambda key: (key == "global_step", key == "loss"))
    table(("metric", "value"), [(key, _shown(metrics[key])) for key in order])


def _follow(
    estimator: Estimator,
    data: str,
    steps: int | None,
    name: str | None,
    timeout: float | None,
    *,
    as_json: bool,
) -> None:
    from dovetail.cli.show import say, say_on_stderr, to_json
    from dovetail.run.evaluations import line
    from dovetail.run.follow import follow
    from dovetail.run.specs import EvalSpec

    spec = EvalSpec(data, steps, name, start_delay_secs=0, throttle_secs=0)
    for step, metrics in follow(estimator, spec, timeout=timeout, note=say_on_stderr):
        say(to_json(metrics) if as_json else line(name or "", step, metrics))
        sys.stdout.flush()


def _shown(value: object) -> str:
    """Six digits of a number; counts and steps as they are."""
    if isinstance(value, list):
        return f"[{', '.join(_shown(item) for item in value)}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)

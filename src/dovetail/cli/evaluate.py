"""`dovetail evaluate`: the loss and metrics of a checkpoint."""

from __future__ import annotations

from typing import Annotated, Any

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
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    batch_size: BATCH_SIZE = None,
    params: PARAMS = None,
    settings: SETTINGS = None,
    verbose: VERBOSE = False,
) -> None:
    """Evaluate a checkpoint: its loss, and the metrics that the model file names.

    Example:
        dovetail evaluate digits.py --data demo/records/test \\
            --model-dir demo/model
    """
    from dovetail.cli.show import print_json, say, table
    from dovetail.cli.values import show_values
    from dovetail.run.estimator import Estimator

    resolved = put_together(
        model, params=params, settings=settings, flags={**flags, "batch_size": batch_size}
    )
    resolved = with_existing_model_dir(resolved, checkpoint_path)
    if verbose and not as_json:
        show_values(resolved, training=False, verbose=True)
        say()
    metrics = Estimator.from_resolved(resolved).evaluate(
        data, steps=eval_steps, checkpoint_path=checkpoint_path, name=name
    )
    if as_json:
        print_json(metrics)
        return
    order = sorted(metrics, key=lambda key: (key == "global_step", key == "loss"))
    table(("metric", "value"), [(key, _shown(metrics[key])) for key in order])


def _shown(value: object) -> str:
    """Six digits of a number; counts and steps as they are."""
    if isinstance(value, list):
        return f"[{', '.join(_shown(item) for item in value)}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)

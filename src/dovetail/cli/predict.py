"""`dovetail predict`: predictions in the order of the input, as JSON lines or Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dovetail.cli.flags import BATCH_SIZE, CHECKPOINT, DATA, MODEL, PARAMS, RUN_FLAGS, SETTINGS
from dovetail.cli.settings import put_together, with_existing_model_dir
from dovetail.cli.verb import verb

if TYPE_CHECKING:
    import numpy as np

    from dovetail.definition.definition import Definition


@verb(run_flags=tuple(name for name, flag in RUN_FLAGS.items() if not flag.training_only))
def predict(
    model: MODEL,
    data: DATA,
    flags: dict[str, Any],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", metavar="FILE", help="The screen; or a file: JSON lines, or Arrow (.arrow)."
        ),
    ] = None,
    predict_keys: Annotated[
        str | None,
        typer.Option("--predict-keys", metavar="A,B", help="Which predictions; all of them."),
    ] = None,
    checkpoint_path: CHECKPOINT = None,
    batch_size: BATCH_SIZE = None,
    params: PARAMS = None,
    settings: SETTINGS = None,
) -> None:
    """Predict with a checkpoint: one line of JSON for each record, in their order.

    Where the model file has process(predictions, worker_id), each batch is given to it too.

    Example:
        dovetail predict digits.py --data demo/records/test \\
            --model-dir demo/model --output demo/predictions.jsonl
    """
    from dovetail.cli.prediction_files import opened
    from dovetail.cli.show import plural, say
    from dovetail.run.estimator import Estimator

    resolved = put_together(
        model, params=params, settings=settings, flags={**flags, "batch_size": batch_size}
    )
    resolved = with_existing_model_dir(resolved, checkpoint_path)
    keys = None if predict_keys is None else [key.strip() for key in predict_keys.split(",")]
    estimator = Estimator.from_resolved(resolved)
    batches = estimator.predict(
        data, keys, checkpoint_path=checkpoint_path, yield_single_examples=False
    )
    rows = 0
    with opened(output) as write:
        for batch in batches:
            rows += write(batch)
            process(resolved.definition, batch)
    if output is not None:
        say(f"{plural(rows, 'prediction')} in {output}")


def process(definition: Definition, batch: dict[str, np.ndarray]) -> None:
    """Give a batch to the definition's `process`; a model's one output comes as its array."""
    if definition.process is None:
        return
    single = definition.way == "model file" and list(batch) == ["output"]
    predictions = batch["output"] if single else batch
    definition.process({"predictions": predictions, "worker_id": 0})

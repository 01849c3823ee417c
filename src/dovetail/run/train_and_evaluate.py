"""Training with evaluations beside it, in one process: nothing is built or read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dovetail.definition.modes import ModeKeys
from dovetail.errors import ParamsError, a_kind
from dovetail.run.estimator import Estimator
from dovetail.run.evaluations import Evaluations as Evaluations
from dovetail.run.specs import EvalSpec as EvalSpec
from dovetail.run.specs import TrainSpec as TrainSpec
from dovetail.run.train import Trained


def train_and_evaluate(
    estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec | Sequence[EvalSpec]
) -> tuple[dict[str, Any], list[Path]]:
    """Train, and evaluate after each checkpoint but that of step 0; the last one always.

    The live program is evaluated: nothing is built again and no checkpoint is read. The training
    is bit for bit what it would be without.

    Args:
      estimator: what is trained; if its model_dir holds a checkpoint, that is gone on from.
      train_spec: on what, and for how long.
      eval_spec: on what it is evaluated; several, of different names, in a list.

    Returns:
      metrics: of the last evaluation: metric -> value, with `loss` and `global_step`; for a list
        of specs a dict of these by name ("" for one without a name).
      exports: what each exporter exported last; the best one, be it of an earlier call.

    Raises:
      ParamsError: an argument is of the wrong kind, or two specs have one name.
      NanLossError, DataError, CheckpointError: as `Estimator.train` and `Estimator.evaluate`.

    Example:
      >>> import tempfile
      >>> import torch, dovetail
      >>> def model_fn(features, labels, mode):
      ...     output = dovetail.layers.fully_connected(features, 1, activation_fn=None)
      ...     loss = torch.mean((output - labels) ** 2)
      ...     train_op = dovetail.optimizers.SGD(0.1).minimize(loss)
      ...     return dovetail.EstimatorSpec(mode, output, loss, train_op)
      >>> x = torch.linspace(-1, 1, 64).reshape(-1, 1)
      >>> def input_fn():
      ...     return [(x, 3 * x)] * 100
      >>> config = dovetail.RunConfig(tempfile.mkdtemp(), progress=False)
      >>> metrics, exports = train_and_evaluate(
      ...     dovetail.Estimator(model_fn, config=config),
      ...     TrainSpec(input_fn, max_steps=100),
      ...     EvalSpec(input_fn, steps=1),
      ... )
      >>> metrics["global_step"], metrics["loss"] < 0.01, exports
      (100, True, [])
    """
    for what, value, kind in (
        ("estimator", estimator, Estimator),
        ("train_spec", train_spec, TrainSpec),
    ):
        if not isinstance(value, kind):
            raise ParamsError(f"{what} must be a dovetail.{kind.__name__}; it is {a_kind(value)}.")
    evaluations = evaluations_of(estimator, eval_spec)
    trained = estimator.train_run(
        train_spec.input_fn,
        hooks=train_spec.hooks,
        max_steps=train_spec.max_steps,
        listeners=train_spec.saving_listeners,
        evaluations=evaluations,
    )
    conclude(estimator, evaluations, trained)
    if isinstance(eval_spec, EvalSpec):
        return evaluations.metrics[eval_spec.name or ""], evaluations.exports
    return dict(evaluations.metrics), evaluations.exports


def evaluations_of(estimator: Estimator, specs: EvalSpec | Sequence[EvalSpec]) -> Evaluations:
    """Make the evaluations that `Estimator.train_run` takes.

    Raises:
      ParamsError: a spec is of the wrong kind, or two have one name.
    """
    return Evaluations(
        specs,
        lambda spec: estimator.open_input(spec.input_fn, ModeKeys.EVAL),
        Path(estimator.model_dir),
        estimator=estimator,
    )


def conclude(estimator: Estimator, evaluations: Evaluations, trained: Trained) -> None:
    """Evaluate the last checkpoint, if there was nothing left to train, and make final exports."""
    if trained.checkpoint is None:
        return
    for spec in evaluations.specs:
        if (spec.name or "") not in evaluations.metrics:
            metrics = estimator.evaluate(
                spec.input_fn, steps=spec.steps, hooks=spec.hooks, name=spec.name
            )
            evaluations.take(spec, trained.step, metrics)
    evaluations.finish(trained.checkpoint)

"""What a pipeline measures of a model, batch by batch, exact for batches of any sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dovetail.data.pipeline.saved import as_arrays
from dovetail.definition.metrics import MetricSet
from dovetail.errors import DataError, DefinitionError
from dovetail.program.program import Program
from dovetail.run.measures import HostCall, MeanLoss


class Evaluation:
    """The metrics of a model over some batches.

    Those of a Dovetail program are its `eval_metric_ops`, as `Estimator.evaluate` gives them. Of
    another descriptor each number among the `metrics` that its step returns, and the loss, is a
    mean over examples.

    Args:
      mode: whose metrics: "eval" or "train".
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._measured: _OfProgram | _OfOther | None = None

    def update(self, program: Any, output: Mapping[str, Any], examples: int) -> None:
        """Add a batch.

        Args:
          program: the descriptor.
          output: what its step returned.
          examples: in the batch.
        """
        if self._measured is None:
            own = isinstance(program, Program)
            self._measured = _OfProgram(program, self._mode) if own else _OfOther()
        self._measured.update(output, examples)

    def compute(self) -> dict[str, Any]:
        """Give metric -> value, over all batches so far.

        Raises:
          DataError: there was no batch.
        """
        if self._measured is None:
            raise DataError("No batch was evaluated, so there are no metrics.")
        return self._measured.compute()


class _OfProgram:
    def __init__(self, program: Program, mode: str) -> None:
        self._program, self._mode = program, mode
        self._statics = program.statics(mode)
        self._metrics = MetricSet(self._statics.metrics)
        self._host = HostCall(self._statics)
        self._loss = MeanLoss(program.device)

    def update(self, output: Mapping[str, Any], examples: int) -> None:
        self._metrics.update(output.get("metrics", {}), weight=examples)
        self._host.update(output, examples)
        self._loss.update(output, self._statics.loss_weight, examples)
        self._step = self._program.global_step

    def compute(self) -> dict[str, Any]:
        values = {**self._metrics.compute(), **self._host.compute(), "loss": self._loss.compute()}
        return {**values, "global_step": self._step}


class _OfOther:
    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._examples = 0

    def update(self, output: Mapping[str, Any], examples: int) -> None:
        metrics = output.get("metrics", {})
        if not isinstance(metrics, Mapping):
            raise DefinitionError(
                f"eval_step gave metrics that are a {type(metrics).__name__}; give a dict by name."
            )
        values = {**metrics, **({"loss": output["loss"]} if "loss" in output else {})}
        for name, value in as_arrays(values).items():
            if not isinstance(value, (int, float)):
                raise DefinitionError(
                    f"The metric '{name}' that eval_step gave is a {type(value).__name__}; of a "
                    "descriptor that is no Dovetail program it must be a number, whose mean over "
                    "examples is taken."
                )
            self._sums[name] = self._sums.get(name, 0.0) + float(value) * examples
        self._examples += examples

    def compute(self) -> dict[str, Any]:
        return {name: total / self._examples for name, total in self._sums.items()}

"""The `eval_metrics_fn` of a model file, in both its forms, its metrics nested by output or not.

With `(predictions, labels)` it returns what the metrics of this batch are. Without them it returns,
once, what computes metrics: functions of labels and predictions, and metric objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dovetail.definition.argument_order import labels_first
from dovetail.definition.hparams import HParams
from dovetail.definition.keras.device import keras_on
from dovetail.definition.keras.metrics import Copies, is_metric_object, takes_labels
from dovetail.definition.metric_op import MetricOp
from dovetail.definition.one_loss import labels_of, output_of
from dovetail.definition.signature import Matched, where
from dovetail.errors import DefinitionError, a_kind

Values = dict[str, MetricOp | Tensor]
_SAY = "keras.metrics.SparseCategoricalAccuracy()"
OFFERED = ("predictions", "labels", "params", "mode")
_TAKEN = ("loss", "global_step")


def matched(function: Any) -> Matched:
    """Return how the `eval_metrics_fn` of a file is called, with predictions and labels or without.

    Raises:
      DefinitionError: it can't be called so, or takes one of the two alone.
    """
    if not callable(function):
        kind = type(function).__name__
        what = f"an object of type {kind}" if is_metric_object(function) else f"of type {kind}"
        raise DefinitionError(
            f"eval_metrics_fn must be a function; it is {what}. Write def eval_metrics_fn(): "
            f"return {{'NAME': {_SAY}, ...}}."
        )
    match = Matched(function, OFFERED, positional=2, what="eval_metrics_fn")
    if _of_batches(match):
        return Matched(
            function, OFFERED, required=OFFERED[:2], positional=2, what="eval_metrics_fn"
        )
    return match


def _of_batches(match: Matched) -> bool:
    return bool({*match.offered[: match.count], *match.names} & {*OFFERED[:2]})


@dataclass(frozen=True, eq=False)
class _Entry:
    """One metric of the form without arguments."""

    name: str
    output: str | None
    given: Any  # a function, or Copies of an object
    labels_first: bool


class FileMetrics:
    """The metrics of a file.

    Args:
      match: the file's `eval_metrics_fn`.
      settings: the section of params of its own parameters.
    """

    def __init__(self, match: Matched, settings: Mapping[str, Any] | None = None) -> None:
        self.match = match
        self.settings = settings
        self.of_batches = _of_batches(match)
        self.entries: dict[str, list[_Entry]] = {}

    def __call__(
        self, output: Any, outputs: Mapping[str, Any], labels: Any, params: HParams, mode: str
    ) -> Values:
        """Return the metrics of a batch by name, as `EstimatorSpec.eval_metric_ops` has them.

        Args:
          output: what the model gave.
          outputs: the same by name.
          labels: the batch's.
          params: the run's.
          mode: the mode of the call.

        Raises:
          DefinitionError: the function returned what is no metric.
        """
        values = {"predictions": output, "labels": labels, "params": params, "mode": mode}
        with keras_on(outputs):
            return self._metrics(values, outputs)

    def _metrics(self, values: Mapping[str, Any], outputs: Mapping[str, Any]) -> Values:
        output, labels, mode = values["predictions"], values["labels"], values["mode"]
        if self.of_batches:
            made = self.match(values, self.settings)
            metrics: Values = {}
            for name, _, value in self._flat(made):
                if not torch.compiler.is_compiling():
                    self._check_value(name, value)
                metrics[name] = value
            return metrics
        if mode not in self.entries:
            self.entries[mode] = self._read(self.match(values, self.settings))
        return {
            entry.name: self._measured(entry, output, outputs, labels)
            for entry in self.entries[mode]
        }

    def _measured(
        self, entry: _Entry, output: Any, outputs: Mapping[str, Any], labels: Any
    ) -> MetricOp | Tensor:
        what = f"{self._what()}: {entry.name!r}"
        if entry.output is not None:
            output = output_of(outputs, entry.output, what)
            labels = labels_of(labels, entry.output)
        if isinstance(entry.given, Copies):
            return entry.given.op(_one(labels, "labels", what), _one(output, "predictions", what))
        given = (labels, output) if entry.labels_first else (output, labels)
        value = entry.given(*given)
        if not torch.compiler.is_compiling():
            self._check_value(entry.name, value)
        return value

    def _read(self, made: Any) -> list[_Entry]:
        return [
            _Entry(name, output, *self._function(name, value))
            for name, output, value in self._flat(made)
        ]

    def _function(self, name: str, value: Any) -> tuple[Any, bool]:
        what = f"{self._what()}: {name!r}"
        if isinstance(value, type):
            raise DefinitionError(
                f"{what} is the class {value.__name__}. Give an object of it: {value.__name__}()."
            )
        if is_metric_object(value):
            if not takes_labels(value):
                raise DefinitionError(
                    f"{what} is {a_kind(value)}, which takes values, not labels and "
                    "predictions. Give a function of labels and predictions that returns these "
                    "values, one per example: their mean is taken over all examples."
                )
            return Copies(value), False
        if callable(value):
            return value, labels_first(value, otherwise=True)
        shown = (
            f"the text {value!r}" if isinstance(value, str) else f"of type {type(value).__name__}"
        )
        raise DefinitionError(
            f"{what} is {shown}. An eval_metrics_fn without arguments returns functions of "
            f"(labels, predictions), or metric objects such as {_SAY}; to compute with the tensors "
            "of a batch, let it take (predictions, labels)."
        )

    def _check_value(self, name: str, value: Any) -> None:
        if isinstance(value, (MetricOp, Tensor)):
            return
        what = f"{self._what()}: {name!r} is {a_kind(value)}"
        cls = type(value).__name__
        if is_metric_object(value):
            raise DefinitionError(
                f"{what}, an object that would be new at each batch. Let eval_metrics_fn take no "
                f"arguments and return {{{name!r}: {cls}(...)}}; or write "
                f"dovetail.metrics.measure({cls}, ...) with the tensors that it takes."
            )
        if callable(value):
            raise DefinitionError(
                f"{what}. Call it on predictions and labels; or let eval_metrics_fn take no "
                "arguments, and its functions are called on (labels, predictions)."
            )
        raise DefinitionError(
            f"{what}; it must be a tensor (a value per example, or their mean) or a metric of "
            "dovetail.metrics."
        )

    def _flat(self, made: Any) -> Iterator[tuple[str, str | None, Any]]:
        """Yield (name, output, value) of all metrics; those of an output are "output/name"."""
        if not isinstance(made, Mapping):
            raise DefinitionError(
                f"{self._what()} returned {a_kind(made)}; it must return a dict of name "
                "-> metric, or such a dict for each output."
            )
        seen: set[str] = set()
        for name, value in made.items():
            inner = value if isinstance(value, Mapping) else {None: value}
            for key, one in inner.items():
                full = name if key is None else f"{name}/{key}"
                if isinstance(one, Mapping):
                    raise DefinitionError(
                        f"{self._what()}: {full!r} is a dict; metrics are nested by output, no "
                        "deeper."
                    )
                if full in _TAKEN or full in seen:
                    raise DefinitionError(
                        f"{self._what()}: an evaluation has {full!r} already; give this metric "
                        "another name."
                    )
                seen.add(full)
                yield full, None if key is None else name, one

    def _what(self) -> str:
        return f"eval_metrics_fn: {where(self.match.function)}"


def _one(value: Any, name: str, what: str) -> Tensor:
    if isinstance(value, Mapping) and len(value) == 1:
        value = next(iter(value.values()))
    if isinstance(value, Tensor):
        return value
    if value is None:
        raise DefinitionError(f"{what} needs labels; there are none.")
    names = ", ".join(value) if isinstance(value, Mapping) else f"{len(value)} tensors"
    raise DefinitionError(
        f"{what} takes one tensor, and the {name} are several ({names}). Nest it under its output, "
        "{'NAME': {...}}, or give a function that chooses."
    )

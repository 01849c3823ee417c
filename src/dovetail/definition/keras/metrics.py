"""Metric objects of Keras and torchmetrics as states of an evaluation.

An object that a file gives is never fed itself: each evaluation feeds a copy that has seen nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dovetail.definition.argument_order import first_two, labels_first
from dovetail.definition.keras.device import keras_on
from dovetail.definition.metric_op import MetricOp


def is_keras_metric(value: Any) -> bool:
    """Return whether it is a metric object in the manner of Keras, without importing Keras."""
    return not isinstance(value, type) and _has(value, "update_state", "result", "reset_state")


def is_metric_object(value: Any) -> bool:
    """Return whether it is a metric object of Keras, of torchmetrics, or like one of these."""
    return is_keras_metric(value) or (
        not isinstance(value, type) and _has(value, "update", "compute", "reset")
    )


def takes_labels(metric: Any) -> bool:
    """Return whether a metric object takes labels and predictions, and not just values."""
    return first_two(metric)[0] not in ("value", "values")


@dataclass(frozen=True, eq=False)
class Copies:
    """The factory of a metric's state: at each call a copy of an object, which has seen nothing.

    Args:
      metric: the object; it is only read.

    >>> import torchmetrics
    >>> given = torchmetrics.MeanMetric()
    >>> state = Copies(given)()
    >>> state.update(arg0=torch.tensor([1.0, 3.0]))
    >>> float(state.compute()), given.update_called
    (2.0, False)
    """

    metric: Any

    def __call__(self) -> Any:
        from dovetail.definition.metric_states import Measured  # takes torchmetrics' time

        return Measured(fresh, (("metric", self.metric),))

    def op(self, labels: Tensor, predictions: Tensor) -> MetricOp:
        """Return the metric of a batch, each tensor where the object takes it."""
        first = labels_first(self.metric, otherwise=is_keras_metric(self.metric))
        given = (labels, predictions) if first else (predictions, labels)
        return MetricOp(self, (), {"arg0": given[0], "arg1": given[1]})


def fresh(metric: Any) -> Any:
    """Return a copy of a metric object that has seen nothing.

    Keras' own `copy.deepcopy` goes by the object's config, so it loses what a class of the user's
    does not put there, and refuses a lambda; this copies what the object holds.
    """
    if not is_keras_metric(metric):
        made = copy.deepcopy(metric)
        made.reset()
        return made
    made = object.__new__(type(metric))
    memo: dict[int, Any] = {id(metric): made}
    for name, value in vars(metric).items():
        object.__setattr__(made, name, copy.deepcopy(value, memo))
    with keras_on(_variables(made)):
        made.reset_state()
    return made


class KerasState:
    """A Keras metric object with the methods that other states have.

    Keras adds up in float32, which stops counting at 16.7 million. Its own metrics are sums over
    the rows: each batch is added up by the object and all batches here, in float64. The object of
    a class of the user's may keep anything (a maximum), so it adds up itself.

    Args:
      metric: an object that nothing else feeds.

    >>> class Largest:
    ...     def reset_state(self):
    ...         self.value = torch.tensor(0.0)
    ...     def update_state(self, values):
    ...         self.value = torch.maximum(self.value, values.max())
    ...     def result(self):
    ...         return self.value
    >>> state = KerasState(Largest())
    >>> state.update(torch.tensor([1.0, 3.0]))
    >>> state.update(torch.tensor([2.0]))
    >>> float(state.compute())
    3.0
    """

    def __init__(self, metric: Any) -> None:
        self.metric = metric
        self.of_sums = type(metric).__module__.startswith("keras.")
        self.totals: list[Tensor] = []
        self.reset()

    def update(self, *tensors: Tensor) -> None:
        """Add a batch: labels, predictions and, if there are any, weights."""
        with keras_on([*_variables(self.metric), *tensors]):
            if not self.of_sums:
                self.metric.update_state(*tensors)
                return
            self.metric.reset_state()
            self.metric.update_state(*tensors)
        added = [_wide(value) for value in _variables(self.metric)]
        if self.totals:
            added = [total + more for total, more in zip(self.totals, added, strict=True)]
        self.totals = added

    def compute(self) -> object:
        """Return the metric over all batches so far."""
        with keras_on(_variables(self.metric)):
            if self.totals:
                for variable, total in zip(self.metric.variables, self.totals, strict=True):
                    variable.assign(total.to(variable.value.dtype))
            return _plain(self.metric.result())

    def reset(self) -> None:
        """Forget all batches."""
        self.totals = []
        with keras_on(_variables(self.metric)):
            self.metric.reset_state()


def _variables(metric: Any) -> list[Tensor]:
    return [variable.value for variable in getattr(metric, "variables", ())]


def _wide(value: Tensor) -> Tensor:
    return value.detach().to(
        torch.float32 if value.device.type == "mps" else torch.float64, copy=True
    )


def _plain(result: Any) -> Any:
    """Return a result with the tensors of variables that it holds."""
    if isinstance(result, dict):
        return {name: _plain(value) for name, value in result.items()}
    return getattr(result, "value", result)


def _has(value: Any, *methods: str) -> bool:
    return all(callable(getattr(value, method, None)) for method in methods)

"""Metrics as frozen values: a model_fn says what to measure, the program keeps the state.

A metric object made inside a model_fn would be made anew at every step and cannot be traced by
torch.compile or torch.export. The functions here only tie tensors to the description of a state,
so they are free of charge in a step and may be called under any tracer. `MetricSet` makes the
states from the descriptions, once, and feeds them batch by batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dovetail.definition.metric_set import MetricSet as MetricSet
from dovetail.errors import DefinitionError

__all__ = [
    "MetricOp",
    "MetricSet",
    "accuracy",
    "auc",
    "f1",
    "false_negatives",
    "false_positives",
    "from_value",
    "mean",
    "mean_absolute_error",
    "mean_per_class_accuracy",
    "mean_squared_error",
    "measure",
    "precision",
    "recall",
    "root_mean_squared_error",
    "sparse_top_k_accuracy",
    "true_negatives",
    "true_positives",
]


@dataclass(frozen=True, eq=False)
class MetricOp:
    """What to measure (factory and kwargs, static) and on which tensors (of each batch).

    Args:
      factory: builds the metric's state from `kwargs`; the state has `update(**tensors)`,
        `compute()` and `reset()`.
      kwargs: what the factory is given, as (name, value) pairs.
      tensors: this batch's tensors, by the name of `update`'s argument.
    """

    factory: Callable[..., object]
    kwargs: tuple[tuple[str, object], ...] = ()
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def build(self) -> object:
        """Return a fresh state object for this metric."""
        return self.factory(**dict(self.kwargs))

    def same_metric(self, other: MetricOp) -> bool:
        """Return whether `other` measures the same thing, on whatever tensors."""
        return (
            self.factory == other.factory
            and self.kwargs == other.kwargs
            and list(self.tensors) == list(other.tensors)
        )


def accuracy(labels: Tensor, predictions: Tensor, weights: Tensor | None = None) -> MetricOp:
    """The share of predictions that equal their label.

    Args:
      labels: class ids, shape [batch, ...]; [batch, 1] is squeezed to match the predictions.
      predictions: class ids, the shape of labels (of logits, give `logits.argmax(-1)`).
      weights: what each counts for: the shape of labels, [batch], or a scalar; 1 by default.

    Returns:
      A MetricOp whose value lies in [0, 1]; nan where all weights are zero.

    >>> import torch
    >>> op = accuracy(torch.tensor([1, 0, 2, 2]), torch.tensor([1, 1, 2, 2]))
    >>> metrics = MetricSet({"accuracy": op})
    >>> metrics.update({"accuracy": op.tensors})
    >>> metrics.compute()
    {'accuracy': 0.75}
    """
    return _compared("accuracy", "equal", labels, predictions, weights)


def mean(values: Tensor, weights: Tensor | None = None) -> MetricOp:
    """The mean of all values, each weighing 1 unless weights are given.

    Args:
      values: numbers of any shape.
      weights: the shape of values, [batch], or a scalar.

    Returns:
      A MetricOp; nan where all weights are zero.

    >>> import torch
    >>> mean(torch.ones(3)).build().__class__.__name__
    'Mean'
    """
    return MetricOp(_mean_state, (), _tensors("mean", values=values, weights=weights))


def mean_squared_error(
    labels: Tensor, predictions: Tensor, weights: Tensor | None = None
) -> MetricOp:
    """The mean of (prediction - label) squared; arguments as in `accuracy`, of real numbers."""
    return _compared("mean_squared_error", "squared", labels, predictions, weights)


def root_mean_squared_error(
    labels: Tensor, predictions: Tensor, weights: Tensor | None = None
) -> MetricOp:
    """The square root of the mean squared error over all batches, not a mean of roots.

    Arguments as in `accuracy`, of real numbers.

    >>> import torch
    >>> op = root_mean_squared_error(torch.zeros(2), torch.tensor([3.0, 3.0]))
    >>> metrics = MetricSet({"rmse": op})
    >>> metrics.update({"rmse": op.tensors})
    >>> metrics.compute()
    {'rmse': 3.0}
    """
    return _compared("root_mean_squared_error", "squared", labels, predictions, weights, root=True)


def mean_absolute_error(
    labels: Tensor, predictions: Tensor, weights: Tensor | None = None
) -> MetricOp:
    """The mean of |prediction - label|; arguments as in `accuracy`, of real numbers."""
    return _compared("mean_absolute_error", "absolute", labels, predictions, weights)


def precision(
    labels: Tensor, predictions: Tensor, weights: Tensor | None = None, *, threshold: float = 0.5
) -> MetricOp:
    """The share of positive predictions that are right: tp / (tp + fp), 0 where there are none.

    Args:
      labels: 0 or 1, shape [batch, ...]; anything else is an error when the value is computed.
      predictions: 0 or 1, bool, or probabilities; above `threshold` counts as positive.
      weights: what each counts for, as in `accuracy`.
      threshold: in the units of predictions.
    """
    return _counted("precision", labels, predictions, weights, threshold)


def recall(
    labels: Tensor, predictions: Tensor, weights: Tensor | None = None, *, threshold: float = 0.5
) -> MetricOp:
    """The share of positive labels that are found: tp / (tp + fn), 0 where there are none.

    Arguments as in `precision`.
    """
    return _counted("recall", labels, predictions, weights, threshold)


def f1(
    labels: Tensor, predictions: Tensor, weights: Tensor | None = None, *, threshold: float = 0.5
) -> MetricOp:
    """The harmonic mean of precision and recall: 2 tp / (2 tp + fp + fn), 0 where that is 0 / 0.

    Arguments as in `precision`.
    """
    return _counted("f1", labels, predictions, weights, threshold)


def true_positives(
    labels: Tensor, predictions: Tensor, weights: Tensor | None = None, *, threshold: float = 0.5
) -> MetricOp:
    """The weight of positives predicted as positive; arguments as in `precision`."""
    return _counted("true_positives", labels, predictions, weights, threshold)


def false_positives(
    labels: Tensor, predictions: Tensor, weights: Tensor | None = None, *, threshold: float = 0.5
) -> MetricOp:
    """The weight of negatives predicted as positive; arguments as in `precision`."""
    return _counted("false_positives", labels, predictions, weights, threshold)


def false_negatives(
    labels: Tensor, predictions: Tensor, weights: Tensor | None = None, *, threshold: float = 0.5
) -> MetricOp:
    """The weight of positives predicted as negative; arguments as in `precision`."""
    return _counted("false_negatives", labels, predictions, weights, threshold)


def true_negatives(
    labels: Tensor, predictions: Tensor, weights: Tensor | None = None, *, threshold: float = 0.5
) -> MetricOp:
    """The weight of negatives predicted as negative; arguments as in `precision`."""
    return _counted("true_negatives", labels, predictions, weights, threshold)


def auc(labels: Tensor, predictions: Tensor, weights: Tensor | None = None) -> MetricOp:
    """The exact area under the ROC curve, from every score, the same for any batching.

    It is the weighted share of (positive, negative) pairs in which the positive scores higher,
    a tie counting half: the Mann-Whitney statistic (Hanley and McNeil, Radiology 143, 1982).
    All scores are kept until the value is computed.

    Args:
      labels: 0 or 1, shape [batch, ...].
      predictions: the score of the positive class, the shape of labels.
      weights: what each counts for, as in `accuracy`.

    Returns:
      A MetricOp whose value lies in [0, 1]; nan where only one class occurs.

    >>> import torch
    >>> op = auc(torch.tensor([0, 0, 1, 1]), torch.tensor([0.1, 0.4, 0.35, 0.8]))
    >>> metrics = MetricSet({"auc": op})
    >>> metrics.update({"auc": op.tensors})
    >>> metrics.compute()
    {'auc': 0.75}
    """
    tensors = _tensors("auc", labels=labels, predictions=predictions, weights=weights)
    return MetricOp(_auc_state, (), tensors)


def mean_per_class_accuracy(
    labels: Tensor, predictions: Tensor, num_classes: int, weights: Tensor | None = None
) -> MetricOp:
    """The mean, over the classes that occur, of each class's accuracy (balanced accuracy).

    Args:
      labels: class ids in [0, num_classes), shape [batch, ...].
      predictions: class ids, the shape of labels.
      num_classes: how many classes there are.
      weights: what each counts for, as in `accuracy`.
    """
    if not isinstance(num_classes, int) or num_classes < 1:
        raise DefinitionError(
            "metrics.mean_per_class_accuracy: num_classes must be a positive whole number, "
            f"and is {num_classes!r}."
        )
    name = "mean_per_class_accuracy"
    tensors = _tensors(name, labels=labels, predictions=predictions, weights=weights)
    return MetricOp(_per_class_state, (("num_classes", num_classes),), tensors)


def sparse_top_k_accuracy(
    labels: Tensor, predictions: Tensor, k: int = 5, weights: Tensor | None = None
) -> MetricOp:
    """The share of examples whose class is among the k highest scores; ties count as among.

    Args:
      labels: class ids, shape [batch].
      predictions: a score per class, shape [batch, classes]; a row that holds nan is wrong.
      k: how many of the highest scores count.
      weights: what each example counts for, shape [batch] or a scalar.
    """
    if not isinstance(k, int) or k < 1:
        raise DefinitionError(
            f"metrics.sparse_top_k_accuracy: k must be a positive whole number, and is {k!r}."
        )
    name = "sparse_top_k_accuracy"
    tensors = _tensors(name, labels=labels, predictions=predictions, weights=weights)
    return MetricOp(_top_k_state, (("k", k),), tensors)


def measure(factory: Callable[..., object], *tensors: Tensor, **kwargs: object) -> MetricOp:
    """Measure with a torchmetrics class, or any class with `update`, `compute` and `reset`.

    Args:
      factory: the class (not an object of it: an object made inside a model_fn would be made
        anew at each step), or a function that returns such an object.
      *tensors: what its `update` is given, in order; most torchmetrics take (preds, target).
      **kwargs: what the factory is given.

    Raises:
      DefinitionError: factory is an object, or one of tensors is no tensor.

    >>> import torch, torchmetrics
    >>> op = measure(torchmetrics.R2Score, torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]))
    >>> metrics = MetricSet({"r2": op})
    >>> metrics.update({"r2": op.tensors})
    >>> metrics.compute()
    {'r2': 1.0}
    """
    if isinstance(factory, torch.nn.Module) or not callable(factory):
        raise DefinitionError(
            f"metrics.measure: its first argument is an object, {type(factory).__name__}(...); "
            "give the class and its arguments, as in "
            "metrics.measure(torchmetrics.F1Score, predictions, labels, task='binary'), "
            "so that it is made once and not at every step."
        )
    named = {f"arg{i}": tensor for i, tensor in enumerate(tensors)}
    settings = (("factory", factory), ("kwargs", tuple(kwargs.items())))
    return MetricOp(_measured_state, settings, _tensors("measure", **named))


def from_value(value: object, name: str) -> MetricOp:
    """Return the MetricOp for an entry of eval_metric_ops: itself, or the mean of a tensor.

    Args:
      value: a MetricOp; a tensor of a value per example; or a scalar (tensor or number), taken as
        a mean over the batch, which weighs by `MetricSet.update`'s weight, the number of examples.
      name: the entry's key, for the message.

    Raises:
      DefinitionError: value is anything else.

    >>> from_value(0.5, "share").tensors["values"].item()
    0.5
    """
    if isinstance(value, MetricOp):
        return value
    if isinstance(value, (int, float)):
        value = torch.tensor(float(value))
    if isinstance(value, torch.Tensor):
        return MetricOp(_example_mean_state, (), {"values": value})
    cure = "give metrics.NAME(labels=..., predictions=...), a tensor, or metrics.measure(...)"
    if isinstance(value, torch.nn.Module) or hasattr(value, "update"):
        cure = "give its class: metrics.measure(Class, *tensors, **its_arguments)"
    elif isinstance(value, tuple):
        cure = "a (value, update_op) pair is not needed here: give the metric or the tensor itself"
    raise DefinitionError(
        f"eval_metric_ops[{name!r}] is a {type(value).__name__}, not a metric or a tensor; {cure}."
    )


def _compared(
    name: str,
    compare: str,
    labels: Tensor,
    predictions: Tensor,
    weights: Tensor | None,
    root: bool = False,
) -> MetricOp:
    tensors = _tensors(name, labels=labels, predictions=predictions, weights=weights)
    return MetricOp(_compared_state, (("compare", compare), ("root", root)), tensors)


def _counted(
    name: str, labels: Tensor, predictions: Tensor, weights: Tensor | None, threshold: float
) -> MetricOp:
    tensors = _tensors(name, labels=labels, predictions=predictions, weights=weights)
    return MetricOp(_counted_state, (("result", name), ("threshold", threshold)), tensors)


def _tensors(metric: str, **given: object) -> dict[str, Tensor]:
    """Keep what was given, refusing what is no tensor; shapes are checked at each update."""
    tensors = {}
    for argument, value in given.items():
        if value is None and argument == "weights":
            continue
        if isinstance(value, (int, float)):
            value = torch.tensor(value)
        if not isinstance(value, torch.Tensor):
            cure = " (in PREDICT there are none: return the spec before)" if value is None else ""
            raise DefinitionError(
                f"metrics.{metric}: {argument} must be a tensor, and is "
                f"{'None' if value is None else 'a ' + type(value).__name__}{cure}."
            )
        tensors[argument] = value
    return tensors


# The states live in a module that imports torchmetrics (0.7 s), so each is reached in a call.


def _mean_state() -> object:
    from dovetail.definition import metric_states

    return metric_states.Mean()


def _example_mean_state() -> object:
    from dovetail.definition import metric_states

    return metric_states.ExampleMean()


def _compared_state(compare: str, root: bool) -> object:
    from dovetail.definition import metric_states

    return metric_states.ComparedMean(compare, root=root)


def _counted_state(result: str, threshold: float) -> object:
    from dovetail.definition import metric_states

    return metric_states.BinaryCounts(result, threshold)


def _auc_state() -> object:
    from dovetail.definition import metric_states

    return metric_states.RocAuc()


def _per_class_state(num_classes: int) -> object:
    from dovetail.definition import metric_states

    return metric_states.PerClassAccuracy(num_classes)


def _top_k_state(k: int) -> object:
    from dovetail.definition import metric_states

    return metric_states.TopK(k)


def _measured_state(
    factory: Callable[..., object], kwargs: tuple[tuple[str, object], ...]
) -> object:
    from dovetail.definition import metric_states

    return metric_states.Measured(factory, dict(kwargs))

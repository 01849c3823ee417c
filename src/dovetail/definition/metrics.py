"""Metrics as frozen values: a model_fn says what to measure, the program keeps the state.

A metric object made inside a model_fn would be made anew at every step and cannot be traced by
torch.compile or torch.export. The functions here only tie tensors to the description of a state,
so they are free of charge in a step and may be called under any tracer. `MetricSet` makes the
states from the descriptions, once, and feeds them batch by batch.

All functions take `(labels, predictions, weights=None)`: labels and predictions of one shape
(a last dimension of 1 that only one of them has is squeezed), and weights of that shape, of
shape [batch], or a scalar.
"""

from __future__ import annotations

from torch import Tensor

from dovetail.definition.metric_op import MetricOp, described, from_value, measure
from dovetail.definition.metric_set import MetricSet
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

Weights = Tensor | float | None


def accuracy(labels: Tensor, predictions: Tensor, weights: Weights = None) -> MetricOp:
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


def mean(values: Tensor, weights: Weights = None) -> MetricOp:
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
    return described("mean", "Mean", {"values": values, "weights": weights})


def mean_squared_error(labels: Tensor, predictions: Tensor, weights: Weights = None) -> MetricOp:
    """The mean of (prediction - label) squared; arguments as in `accuracy`, of real numbers."""
    return _compared("mean_squared_error", "squared", labels, predictions, weights)


def root_mean_squared_error(
    labels: Tensor, predictions: Tensor, weights: Weights = None
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


def mean_absolute_error(labels: Tensor, predictions: Tensor, weights: Weights = None) -> MetricOp:
    """The mean of |prediction - label|; arguments as in `accuracy`, of real numbers."""
    return _compared("mean_absolute_error", "absolute", labels, predictions, weights)


def precision(
    labels: Tensor, predictions: Tensor, weights: Weights = None, *, threshold: float = 0.5
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
    labels: Tensor, predictions: Tensor, weights: Weights = None, *, threshold: float = 0.5
) -> MetricOp:
    """The share of positive labels that are found: tp / (tp + fn), 0 where there are none.

    Arguments as in `precision`.
    """
    return _counted("recall", labels, predictions, weights, threshold)


def f1(
    labels: Tensor, predictions: Tensor, weights: Weights = None, *, threshold: float = 0.5
) -> MetricOp:
    """The harmonic mean of precision and recall: 2 tp / (2 tp + fp + fn), 0 where that is 0 / 0.

    Arguments as in `precision`.
    """
    return _counted("f1", labels, predictions, weights, threshold)


def true_positives(
    labels: Tensor, predictions: Tensor, weights: Weights = None, *, threshold: float = 0.5
) -> MetricOp:
    """The weight of positives predicted as positive; arguments as in `precision`."""
    return _counted("true_positives", labels, predictions, weights, threshold)


def false_positives(
    labels: Tensor, predictions: Tensor, weights: Weights = None, *, threshold: float = 0.5
) -> MetricOp:
    """The weight of negatives predicted as positive; arguments as in `precision`."""
    return _counted("false_positives", labels, predictions, weights, threshold)


def false_negatives(
    labels: Tensor, predictions: Tensor, weights: Weights = None, *, threshold: float = 0.5
) -> MetricOp:
    """The weight of positives predicted as negative; arguments as in `precision`."""
    return _counted("false_negatives", labels, predictions, weights, threshold)


def true_negatives(
    labels: Tensor, predictions: Tensor, weights: Weights = None, *, threshold: float = 0.5
) -> MetricOp:
    """The weight of negatives predicted as negative; arguments as in `precision`."""
    return _counted("true_negatives", labels, predictions, weights, threshold)


def auc(labels: Tensor, predictions: Tensor, weights: Weights = None) -> MetricOp:
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
    return described("auc", "RocAuc", _three(labels, predictions, weights))


def mean_per_class_accuracy(
    labels: Tensor, predictions: Tensor, num_classes: int, weights: Weights = None
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
    tensors = _three(labels, predictions, weights)
    name = "mean_per_class_accuracy"
    return described(name, "PerClassAccuracy", tensors, num_classes=num_classes)


def sparse_top_k_accuracy(
    labels: Tensor, predictions: Tensor, k: int = 5, weights: Weights = None
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
    return described("sparse_top_k_accuracy", "TopK", _three(labels, predictions, weights), k=k)


def _three(labels: Tensor, predictions: Tensor, weights: Weights) -> dict[str, object]:
    return {"labels": labels, "predictions": predictions, "weights": weights}


def _compared(
    name: str,
    compare: str,
    labels: Tensor,
    predictions: Tensor,
    weights: Weights,
    root: bool = False,
) -> MetricOp:
    tensors = _three(labels, predictions, weights)
    return described(name, "ComparedMean", tensors, compare=compare, root=root)


def _counted(
    name: str, labels: Tensor, predictions: Tensor, weights: Weights, threshold: float
) -> MetricOp:
    tensors = _three(labels, predictions, weights)
    return described(name, "BinaryCounts", tensors, result=name, threshold=threshold)

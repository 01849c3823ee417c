"""The states behind `dovetail.metrics`: torchmetrics objects that are fed batch by batch.

torchmetrics' own classes take no weights per example (but for its means), add float32 sums, and
round the ROC area to float32; what needs these is written here on its `Metric`, which brings the
reduction over workers. All that is kept is plain float64 sums, so the result does not depend on
how the rows were batched. Nothing here waits for the device before `compute`: labels that make no
sense are counted, and reported then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from dovetail.definition.argument_order import first_two
from dovetail.definition.keras.metrics import KerasState, is_keras_metric
from dovetail.definition.metric_inputs import binary, class_ids, pair, refuse_strays, spread
from dovetail.errors import DefinitionError


class _Sums(Metric):
    """A metric that is a function of sums over all rows."""

    full_state_update = False

    def _sums(self, name: str, size: int | None = None) -> None:
        shape = () if size is None else (size,)
        default = torch.zeros(shape, dtype=torch.float64)
        self.add_state(name, default, dist_reduce_fx="sum")


class Mean(_Sums):
    """The weighted mean of values."""

    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._sums("total")
        self._sums("weight")

    def update(self, values: Tensor, weights: Tensor | None = None) -> None:
        """Add values (any shape), each weighing 1 or as weights say."""
        if values.is_complex():
            raise DefinitionError(f"its values are {values.dtype}; a mean needs real numbers.")
        values = values.detach().to(self.total.dtype)
        if weights is None:
            self.total += values.sum()
            self.weight += values.numel()
        else:
            weights = spread(weights, values)
            # A row that weighs nothing adds nothing, even where its value is nan.
            self.total += torch.where(weights == 0, 0, values * weights).sum()
            self.weight += weights.sum()

    def compute(self) -> Tensor:
        """Return the mean so far; nan where the weights sum to zero."""
        return self.total / self.weight


class ExampleMean(Mean):
    """The mean over examples of a tensor that is given per example, or as a batch's mean."""

    weighs_examples = True

    def update(self, values: Tensor, examples: int | None = None) -> None:
        """Add values of shape [examples, ...], or one value that stands for all examples."""
        if examples is None:
            if values.dim() == 0:
                raise DefinitionError("it is a scalar, so the number of examples must be given.")
            super().update(values)
        elif values.numel() == 1:
            self.total += values.detach().to(self.total.dtype).squeeze() * examples
            self.weight += examples
        elif values.shape[0] != examples:
            raise DefinitionError(
                f"its tensor has shape {list(values.shape)} and the batch has {examples} examples; "
                "give a value per example, a scalar, or one of dovetail.metrics."
            )
        else:
            super().update(values)


class ComparedMean(Mean):
    """The weighted mean of how labels and predictions compare."""

    def __init__(self, compare: str, root: bool = False) -> None:
        super().__init__()
        assert compare in ("equal", "squared", "absolute"), compare
        self.compare = compare
        self.root = root

    def update(self, labels: Tensor, predictions: Tensor, weights: Tensor | None = None) -> None:
        """Add a batch of labels and predictions of one shape."""
        labels, predictions = pair(labels, predictions)
        if self.compare == "equal":
            super().update(labels == predictions, weights)
            return
        dtype = self.total.dtype
        error = predictions.detach().to(dtype) - labels.detach().to(dtype)
        super().update(error.square() if self.compare == "squared" else error.abs(), weights)

    def compute(self) -> Tensor:
        """Return the mean so far, or its square root."""
        value = super().compute()
        return value.sqrt() if self.root else value


class BinaryCounts(_Sums):
    """True and false positives and negatives, and what follows from them."""

    # [true negatives, false positives, false negatives, true positives, labels not 0 or 1]
    counts: Tensor

    def __init__(self, result: str, threshold: float) -> None:
        super().__init__()
        self.result = result
        self.threshold = threshold
        self._sums("counts", 5)

    def update(self, labels: Tensor, predictions: Tensor, weights: Tensor | None = None) -> None:
        """Add a batch of labels (0 or 1) and predictions (0, 1, bool, or a probability)."""
        labels, predictions = pair(labels, predictions)
        dtype = self.counts.dtype
        labelled, stray = binary(labels)
        predicted = predictions.detach() > self.threshold
        right, wrong = labelled & predicted, labelled ^ predicted
        # One stacked sum: five small kernels would be five launches on a device.
        cells = torch.stack(
            [~labelled & ~predicted, wrong & predicted, wrong & labelled, right]
        ).to(dtype)
        if weights is not None:
            cells = cells * spread(weights, cells[0])
        sums = cells.flatten(1).sum(1)
        self.counts += torch.cat([sums, stray.sum().to(dtype).reshape(1)])

    def compute(self) -> Tensor:
        """Return the count or ratio asked for; a ratio over nothing is 0."""
        refuse_strays(self.counts[4], "0 or 1", "for several classes, use metrics.measure")
        tn, fp, fn, tp = self.counts[:4]
        if self.result == "precision":
            return _ratio(tp, tp + fp)
        if self.result == "recall":
            return _ratio(tp, tp + fn)
        if self.result == "f1":
            return _ratio(2 * tp, 2 * tp + fp + fn)
        named = {"true_negatives": tn, "false_positives": fp}
        return {**named, "false_negatives": fn, "true_positives": tp}[self.result]


class PerClassAccuracy(_Sums):
    """The mean of the accuracies of the classes that occur."""

    right: Tensor
    seen: Tensor
    stray: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self._sums("right", num_classes)
        self._sums("seen", num_classes)
        self._sums("stray")

    def update(self, labels: Tensor, predictions: Tensor, weights: Tensor | None = None) -> None:
        """Add a batch of class ids."""
        labels, predictions = pair(labels, predictions)
        ids, stray = class_ids(labels, self.num_classes)
        equal = (labels == predictions).to(self.seen.dtype)
        weights = torch.ones_like(equal) if weights is None else spread(weights, equal)
        self.seen.index_add_(0, ids.flatten(), weights.flatten())
        self.right.index_add_(0, ids.flatten(), (equal * weights).flatten())
        self.stray += stray.sum()

    def compute(self) -> Tensor:
        """Return the mean over classes that occur; nan where none does."""
        refuse_strays(self.stray, f"class ids from 0 to {self.num_classes - 1}", "see num_classes")
        occur = self.seen > 0
        return (self.right[occur] / self.seen[occur]).mean()


class TopK(Mean):
    """The share of examples whose class is among the k highest scores."""

    stray: Tensor

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.classes = 0
        self._sums("stray")

    def update(self, labels: Tensor, predictions: Tensor, weights: Tensor | None = None) -> None:
        """Add labels of shape [batch] (or [batch, 1]) and scores of shape [batch, classes]."""
        if labels.dim() == predictions.dim() and labels.shape[-1] == 1:
            labels = labels.squeeze(-1)
        if predictions.dim() < 2 or labels.shape != predictions.shape[:-1]:
            raise DefinitionError(
                f"labels have shape {list(labels.shape)} and predictions "
                f"{list(predictions.shape)}; expected [batch] and a score per class, "
                "[batch, classes]."
            )
        self.classes = predictions.shape[-1]
        ids, stray = class_ids(labels, self.classes)
        scores = predictions.detach()
        own = scores.gather(-1, ids.unsqueeze(-1))
        among = (scores > own).sum(-1) < self.k
        super().update(among & ~scores.isnan().any(-1), weights)
        self.stray += stray.sum()

    def compute(self) -> Tensor:
        """Return the share so far."""
        refuse_strays(self.stray, f"class ids from 0 to {self.classes - 1}", "one per score")
        return super().compute()


class Measured(torch.nn.Module):
    """Somebody else's metric object, given its tensors in order."""

    def __init__(
        self, factory: Callable[..., object], kwargs: tuple[tuple[str, object], ...]
    ) -> None:
        super().__init__()
        metric = factory(**dict(kwargs))
        if is_keras_metric(metric):
            metric = KerasState(metric)
        missing = [n for n in ("update", "compute", "reset") if not hasattr(metric, n)]
        if missing:
            raise DefinitionError(
                f"metrics.measure got {getattr(factory, '__name__', factory)!s}, whose objects "
                f"have no {', '.join(missing)}; give a torchmetrics class, or one like it."
            )
        self.metric: Any = metric

    def shown(self, name: str) -> str:
        """Return what the metric itself calls the tensor arg0 or arg1."""
        first, second = first_two(getattr(self.metric, "metric", self.metric))
        return {"arg0": first, "arg1": second}.get(name) or name

    def update(self, **tensors: Tensor) -> None:
        """Update with the tensors arg0, arg1, ..."""
        in_order = sorted(tensors, key=lambda name: int(name.removeprefix("arg")))
        self.metric.update(*(tensors[name] for name in in_order))

    def compute(self) -> object:
        """Return what the metric computes."""
        return self.metric.compute()

    def reset(self) -> None:
        """Forget all batches."""
        self.metric.reset()


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole == 0, 0, part / whole)

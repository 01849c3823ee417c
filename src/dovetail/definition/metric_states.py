"""The states behind `dovetail.metrics`: torchmetrics objects that are fed batch by batch.

torchmetrics' own classes take no weights per example (but for its means), add float32 sums, and
round the ROC area to float32; what needs these is written here on its `Metric`, which brings the
reduction over workers. Sums are float64 and all that is kept is plain sums (or, for the ROC area,
the scores), so the result does not depend on how the rows were batched. Nothing here waits for
the device before `compute`: labels that make no sense are counted, and reported then.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from dovetail.errors import DataError, DefinitionError


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
        weights = 1 if weights is None else spread(weights, predicted.to(dtype))
        # One stacked sum: five small kernels would be five launches on a device.
        cells = torch.stack(
            [~labelled & ~predicted, wrong & predicted, wrong & labelled, right]
        ).to(dtype)
        sums = (cells * weights).flatten(1).sum(1)
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


class RocAuc(Metric):
    """The area under the ROC curve, from all scores."""

    full_state_update = False
    scores: list[Tensor]
    positive: list[Tensor]
    weights: list[Tensor]
    stray: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("scores", "positive", "weights"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self.add_state("stray", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, labels: Tensor, predictions: Tensor, weights: Tensor | None = None) -> None:
        """Keep a batch of labels (0 or 1) and scores."""
        labels, predictions = pair(labels, predictions, of="the positive class's score")
        positive, stray = binary(labels)
        # Clones: what a step returned may be a view of a larger tensor, or be written over.
        self.scores.append(predictions.detach().flatten().clone())
        self.positive.append(positive.flatten().clone())
        if weights is not None:
            wide = torch.zeros_like(predictions, dtype=self.stray.dtype)
            self.weights.append(spread(weights, wide).flatten().clone())
        self.stray += stray.sum()

    def compute(self) -> Tensor:
        """Return the area; nan where only one class occurs (or weighs anything)."""
        refuse_strays(self.stray, "0 or 1", "give the positive class's label and score")
        if not len(self.scores):
            return torch.tensor(math.nan)
        scores, positive = dim_zero_cat(self.scores), dim_zero_cat(self.positive)
        weights = dim_zero_cat(self.weights) if len(self.weights) else None
        lost = int(scores.isnan().sum())
        if lost:
            raise DataError(f"{lost} of {scores.numel()} predictions are nan, which have no rank.")
        return roc_area(scores, positive, weights)


class Measured(torch.nn.Module):
    """Somebody else's metric object, given its tensors in order."""

    def __init__(self, factory: Callable[..., object], kwargs: dict[str, object]) -> None:
        super().__init__()
        metric = factory(**kwargs)
        missing = [n for n in ("update", "compute", "reset") if not hasattr(metric, n)]
        if missing:
            raise DefinitionError(
                f"metrics.measure got {getattr(factory, '__name__', factory)!s}, whose objects "
                f"have no {', '.join(missing)}; give a torchmetrics class, or one like it."
            )
        self.metric = metric

    def update(self, **tensors: Tensor) -> None:
        """Update with the tensors arg0, arg1, ..."""
        in_order = sorted(tensors, key=lambda name: int(name.removeprefix("arg")))
        self.metric.update(*(tensors[name] for name in in_order))  # type: ignore[union-attr]

    def compute(self) -> object:
        """Return what the metric computes."""
        return self.metric.compute()  # type: ignore[union-attr]

    def reset(self) -> None:
        """Forget all batches."""
        self.metric.reset()  # type: ignore[union-attr]


def roc_area(scores: Tensor, positive: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the exact ROC area as a float64 scalar; nan where a class is absent.

    The rows are sorted by all that they hold, so their order cannot change a rounding.

    Args:
      scores: shape [n], no nan.
      positive: bool, shape [n].
      weights: float64, shape [n], or None for ones.

    >>> import torch
    >>> roc_area(torch.tensor([1.0, 1.0]), torch.tensor([True, False])).item()
    0.5
    """
    if scores.device.type == "mps":  # it has no float64
        scores, positive = scores.cpu(), positive.cpu()
        weights = None if weights is None else weights.cpu()
    if weights is not None:
        order = weights.argsort()
        order = order[positive[order].to(torch.uint8).argsort(stable=True)]
        order = order[scores[order].argsort(stable=True)]
        weights = weights[order].double()
    else:
        order = scores.argsort()
        weights = torch.ones(len(order), dtype=torch.float64, device=scores.device)
    scores, positive = scores[order], positive[order]
    # The last row of each run of equal scores.
    ends = torch.ones(len(order), dtype=torch.bool, device=scores.device)
    ends[:-1] = scores[1:] != scores[:-1]
    positives = (weights * positive).cumsum(0)[ends]
    negatives = (weights * ~positive).cumsum(0)[ends]
    zero = positives.new_zeros(1)
    gained = positives.diff(prepend=zero)
    below = torch.cat([zero, negatives[:-1]])
    return (gained * (below + negatives) / 2).sum() / (positives[-1] * negatives[-1])


def pair(labels: Tensor, predictions: Tensor, of: str = "one value") -> tuple[Tensor, Tensor]:
    """Return both in one shape, squeezing a last dimension of 1 that only one of them has.

    Raises:
      DefinitionError: the shapes differ otherwise.
    """
    if labels.dim() == predictions.dim() + 1 and labels.shape[-1] == 1:
        labels = labels.squeeze(-1)
    elif predictions.dim() == labels.dim() + 1 and predictions.shape[-1] == 1:
        predictions = predictions.squeeze(-1)
    if labels.shape == predictions.shape:
        return labels, predictions
    message = (
        f"labels have shape {list(labels.shape)} and predictions {list(predictions.shape)}; "
        f"expected the same shape, with {of} per label"
    )
    if predictions.dim() == labels.dim() + 1 or labels.shape[-1:] == (1,):
        message += ". For scores per class give predictions.argmax(-1), or one class's scores"
    elif labels.dim() == predictions.dim() + 1:
        message += ". For one-hot labels give labels.argmax(-1)"
    raise DefinitionError(message + ".")


def spread(weights: Tensor, values: Tensor) -> Tensor:
    """Return weights in the shape and dtype of values.

    Args:
      weights: a scalar, the shape of values, or of its leading dimensions (per example).
      values: shape [batch, ...].

    Raises:
      DefinitionError: the shapes do not fit.
    """
    given = weights
    weights = weights.detach().to(values.dtype)
    if weights.dim() == values.dim() + 1 and weights.shape[-1] == 1:
        weights = weights.squeeze(-1)
    leading = weights.shape == values.shape[: weights.dim()]
    if leading:
        weights = weights.reshape(weights.shape + (1,) * (values.dim() - weights.dim()))
    fits = weights.dim() == values.dim() and all(
        w in (1, v) for w, v in zip(weights.shape, values.shape, strict=True)
    )
    if not fits:
        raise DefinitionError(
            f"weights have shape {list(given.shape)} and what they weigh {list(values.shape)}; "
            "expected the same shape, a weight per example, or a scalar."
        )
    return weights.expand(values.shape)


def binary(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return which labels are positive, and which are neither 0 nor 1."""
    labels = labels.detach()
    if labels.dtype == torch.bool:
        return labels, torch.zeros_like(labels)
    positive = labels == 1
    return positive, ~(positive | (labels == 0))


def class_ids(labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return labels as int64 within [0, classes), and which were outside."""
    labels = labels.detach()
    stray = ~((labels >= 0) & (labels < classes))
    return torch.where(stray, 0, labels).to(torch.int64), stray


def refuse_strays(count: Tensor, expected: str, cure: str) -> None:
    """Raise DataError where labels were counted that cannot be."""
    if count > 0:
        raise DataError(f"{int(count)} labels are not {expected}; {cure}.")


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole == 0, 0, part / whole)

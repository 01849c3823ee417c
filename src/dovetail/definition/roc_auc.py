"""The exact area under the ROC curve, from every score, whatever the batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from dovetail.definition.metric_inputs import binary, pair, refuse_strays, spread
from dovetail.errors import DataError


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
    if not len(scores):
        return torch.tensor(math.nan, dtype=torch.float64)
    # On the CPU: CUDA's cumsum is refused where deterministic algorithms are asked for, and some
    # devices have no float64.
    scores, positive = scores.cpu(), positive.cpu()
    if weights is not None:
        weights = weights.cpu()
        order = weights.argsort()
        order = order[positive[order].to(torch.uint8).argsort(stable=True)]
        order = order[scores[order].argsort(stable=True)]
        weights = weights[order].double()
    else:
        order = scores.argsort()
        weights = torch.ones(len(order), dtype=torch.float64)
    scores, positive = scores[order], positive[order]
    # The last row of each run of equal scores.
    ends = torch.ones(len(order), dtype=torch.bool)
    ends[:-1] = scores[1:] != scores[:-1]
    positives = (weights * positive).cumsum(0)[ends]
    negatives = (weights * ~positive).cumsum(0)[ends]
    zero = positives.new_zeros(1)
    gained = positives.diff(prepend=zero)
    below = torch.cat([zero, negatives[:-1]])
    return (gained * (below + negatives) / 2).sum() / (positives[-1] * negatives[-1])

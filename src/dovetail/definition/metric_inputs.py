"""What metrics are given: labels, predictions and weights made to fit each other, or refused."""

from __future__ import annotations

import torch
from torch import Tensor

from dovetail.errors import DataError, DefinitionError


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

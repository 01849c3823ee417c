"""Penalties on weights: what they are, and how the layers' penalties are summed for the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dovetail.errors import DefinitionError
from dovetail.layers.store import current_frame

Regularizer = Callable[[Tensor], Tensor | None]
"""Gives the penalty, shape [], of a weight; any function of a tensor will do."""


def l2_loss(t: Tensor) -> Tensor:
    """Return `sum(t ** 2) / 2`, shape [], as `tf.nn.l2_loss` does.

    Example:
      >>> l2_loss(torch.tensor([3.0, 4.0]))
      tensor(12.5000)
    """
    return t.square().sum() / 2


@dataclass(frozen=True)
class Penalty:
    """`l1 * sum(|w|) + l2 * sum(w ** 2) / 2` of a weight `w`."""

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        for name, scale in (("l1", self.l1), ("l2", self.l2)):
            if not isinstance(scale, (int, float)) or not 0 <= scale < float("inf"):
                raise DefinitionError(
                    f"The scale of an {name} regularizer must be a number from 0 up; it is "
                    f"{scale!r}."
                )

    def __call__(self, weights: Tensor) -> Tensor | None:
        if self.l1 and self.l2:
            return self.l1 * weights.abs().sum() + self.l2 * l2_loss(weights)
        if self.l1:
            return self.l1 * weights.abs().sum()
        return self.l2 * l2_loss(weights) if self.l2 else None


@dataclass(frozen=True)
class Sum:
    """The sum of several regularizers."""

    parts: tuple[Regularizer, ...]

    def __call__(self, weights: Tensor) -> Tensor | None:
        total = None
        for part in self.parts:
            penalty = part(weights)
            if penalty is not None:
                total = penalty if total is None else total + penalty
        return total


def l1_regularizer(scale: float) -> Penalty:
    """Return a regularizer: `scale * sum(|w|)`."""
    return Penalty(l1=scale)


def l2_regularizer(scale: float) -> Penalty:
    """Return a regularizer: `scale * sum(w ** 2) / 2`.

    Example:
      >>> l2_regularizer(0.1)(torch.tensor([3.0, 4.0]))
      tensor(1.2500)
    """
    return Penalty(l2=scale)


def l1_l2_regularizer(scale_l1: float = 1.0, scale_l2: float = 1.0) -> Penalty:
    """Return a regularizer: `scale_l1 * sum(|w|) + scale_l2 * sum(w ** 2) / 2`."""
    return Penalty(l1=scale_l1, l2=scale_l2)


def sum_regularizer(regularizer_list: Sequence[Regularizer | None]) -> Sum:
    """Return a regularizer that is the sum of several; a None in the list is left out."""
    return Sum(tuple(r for r in regularizer_list if r is not None))


def regularization_loss() -> Tensor:
    """Return the sum, shape [], of what the layers' regularizers gave so far in this call.

    Add it to the loss. A layer used several times counts once. In a `block` it is the block's own
    sum; the blocks' sums are part of that of the model_fn that calls them. Zero where there are no
    regularizers.

    Raises:
      DefinitionError: no model_fn is running.

    Example:
      >>> from dovetail import layers
      >>> with layers.scope():
      ...     y = layers.dense(torch.ones(2, 3), 1, weights_initializer=torch.nn.init.ones_,
      ...                      weights_regularizer=layers.l2_loss)
      ...     layers.regularization_loss().item()
      1.5
    """
    penalties = current_frame().regularization
    if not penalties:
        return torch.zeros(())
    total = penalties[0]
    for penalty in penalties[1:]:
        total = total + penalty
    return total


def collect(weights: Tensor, regularizer: Regularizer, name: str | None, part: str) -> None:
    """Add the penalty of a layer's parameter to the current call's.

    Args:
      weights: the parameter.
      regularizer: gives its penalty.
      name: the name that the user gave to the layer: it may be used again, and then counts once.
      part: which of the layer's parameters this is.
    """
    frame = current_frame()
    if name is not None:
        key = f"{name}.{part}"
        if key in frame.regularized:
            return
        frame.regularized.add(key)
    penalty = regularizer(weights)
    if penalty is not None:
        frame.regularization.append(penalty)

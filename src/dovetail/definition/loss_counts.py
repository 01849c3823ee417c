"""What the loss of a library counts for: its examples, the labels that it does not ignore, a sum.

Losses of parts of a batch are put together by what each counts for. torch and Keras divide by
something other than the number of examples where labels are ignored or classes have weights; they
say so in their settings, which are read here.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.errors import DefinitionError

_OF_CLASSES = (nn.functional.cross_entropy, nn.functional.nll_loss)
_IGNORED_BY_TORCH = -100


@dataclass(frozen=True, eq=False)
class Counts:
    """What a loss divides by.

    Attributes:
      total: whether it is a sum, so that losses of parts add up.
      of_classes: whether it takes class ids, and may divide by other than their number.
      ignored: the class id that does not count.
      class_weights: what each class counts for, shape [classes].
      of_keras: whether it leaves out what the model's output is masked for.
    """

    total: bool = False
    of_classes: bool = False
    ignored: int | None = None
    class_weights: Tensor | None = None
    of_keras: bool = False

    @property
    def stated(self) -> bool:
        """Whether its settings make it divide by other than a number of labels."""
        ignores = self.ignored is not None and self.ignored != _IGNORED_BY_TORCH
        return self.of_classes and (ignores or self.class_weights is not None)

    def weight(self, output: Any, labels: Any) -> Tensor | str | None:
        """Return what the loss of this batch counts for, as `EstimatorSpec.loss_weight` has it."""
        if self.total:
            return "sum"
        mask = mask_of(output) if self.of_keras else None
        if mask is not None:
            kept = mask if self.ignored is None else mask & (labels != self.ignored).view_as(mask)
            return kept.sum()
        if not self.of_classes or not isinstance(labels, Tensor):
            return None
        # Several labels an example are padded as a rule; of one an example none is left out.
        if not self.stated and (labels.dim() < 2 or self.ignored is None):
            return None
        if labels.is_floating_point() and labels.shape == output.shape:
            return None  # probabilities of classes, for which torch divides by the examples
        counted = torch.ones_like(labels, dtype=torch.bool)
        if self.ignored is not None:
            counted = labels != self.ignored
        if self.class_weights is None:
            return counted.sum()
        ids = torch.where(counted, labels, 0).long()
        return torch.where(counted, self.class_weights.detach().to(labels.device)[ids], 0).sum()


def counts_of(loss: Any, settings: Mapping[str, Any], what: str) -> Counts:
    """Return what a loss counts for, as far as its own settings say it.

    Args:
      loss: a function, a torch module, or a Keras loss.
      settings: what its own keyword parameters are set to.
      what: its role, for the message.

    Raises:
      DefinitionError: it gives a loss per example.
    """
    given: dict[str, Any] = dict(settings)
    of_classes = isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss))
    if isinstance(loss, nn.Module):
        if not isinstance(loss, nn.modules.loss._Loss):
            return Counts()
        names = ("reduction", "ignore_index", "weight")
        given.update((n, getattr(loss, n)) for n in names if hasattr(loss, n))
    elif is_keras_loss(loss):
        given = {"reduction": loss.reduction or "none"}
        own = type(loss).__module__.startswith("keras.")
        ignored = loss.get_config().get("ignore_class") if own else None
        if ignored is not None:
            of_classes = True
            given["ignore_index"] = ignored
    else:
        while isinstance(loss, functools.partial):
            given.update(loss.keywords)
            loss = loss.func
        of_classes = loss in _OF_CLASSES
        if not of_library(loss):
            return Counts()
    reduction = given.get("reduction", "mean")
    if reduction == "none":
        raise DefinitionError(
            f"{what}: {getattr(loss, '__name__', type(loss).__name__)} has reduction='none', so it "
            "gives a loss per example; a loss is a scalar. Leave reduction at its default, a mean, "
            "or write def loss(output, labels) that puts the values together."
        )
    if not of_classes:
        return Counts(total=reduction == "sum", of_keras=is_keras_loss(loss))
    ignored = given.get("ignore_index", None if is_keras_loss(loss) else _IGNORED_BY_TORCH)
    return Counts(reduction == "sum", True, ignored, given.get("weight"), is_keras_loss(loss))


def mask_of(output: Any) -> Tensor | None:
    """Return which rows or steps of a Keras model's output count; None where all do."""
    return getattr(output, "_keras_mask", None)


def is_keras_loss(loss: Any) -> bool:
    """Return whether it is a Keras loss object, without importing Keras."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(loss, keras.losses.Loss)


def of_library(loss: Callable[..., Any]) -> bool:
    """Return whether a loss or metric is torch's or Keras' own, rather than the user's."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    home = getattr(loss, "__module__", None) or ""
    return home.startswith(("torch.", "keras."))

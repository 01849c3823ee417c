"""Which of a function's first two arguments are the labels: libraries do not agree on an order."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

_LABELS = frozenset(("label", "labels", "target", "targets", "true", "truth", "y", "y_true"))
_PREDICTIONS = frozenset(
    ("input", "inputs", "logits", "output", "outputs", "pred", "prediction", "predictions")
).union(("preds", "probabilities", "scores", "y_hat", "y_pred"))


def labels_first(function: Callable[..., Any], otherwise: bool) -> bool:
    """Return whether a loss or metric takes the labels before the predictions, by their names.

    Keras takes (y_true, y_pred), torch (input, target), torchmetrics (preds, target).

    Args:
      function: a function, a torch module (its `forward` counts) or a metric object (its
        `update_state` or `update`).
      otherwise: the answer where the names do not say.

    >>> labels_first(lambda y_true, y_pred: 0, otherwise=False)
    True
    >>> labels_first(lambda a, b: 0, otherwise=False)
    False
    """
    first, second = first_two(function)
    if first in _LABELS and second in _PREDICTIONS:
        return True
    if first in _PREDICTIONS and second in _LABELS:
        return False
    return otherwise


def first_two(function: Callable[..., Any]) -> tuple[str, str]:
    """Return the names of the first two arguments that go by position; "" where there are none."""
    try:
        parameters = inspect.signature(called(function)).parameters.values()
    except (TypeError, ValueError):  # builtins without a signature
        return "", ""
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = [p.name for p in parameters if p.kind in kinds]
    first, second = [*names, "", ""][:2]
    return first, second


def called(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what says which arguments an object takes."""
    for method in ("update_state", "update"):
        if hasattr(function, method) and not isinstance(function, type):
            return getattr(function, method)
    return function.forward if isinstance(function, nn.Module) else function

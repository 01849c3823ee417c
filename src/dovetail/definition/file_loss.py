"""The `loss` of a model file: a function, a torch or Keras loss, or one for each output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.definition.argument_order import labels_first
from dovetail.definition.hparams import HParams
from dovetail.definition.keras.device import keras_on
from dovetail.definition.loss_counts import is_keras_loss, mask_of
from dovetail.definition.one_loss import OneLoss
from dovetail.definition.signature import Matched
from dovetail.errors import DefinitionError, a_kind

_OFFERED = ("output", "labels", "params", "mode")
_LABELS_FIRST = ("labels", "output", "params", "mode")
WEIGHT_OFFERED = ("labels", "output", "params", "mode")


def matched(loss: Any, what: str = "loss") -> dict[str, Matched]:
    """Return how the loss of a file is called, or each of a dict of losses, by its name.

    Args:
      loss: a function of (output, labels), or of (y_true, y_pred); an object of a torch or Keras
        loss; or a dict of these by output.
      what: its role, for messages.

    Raises:
      DefinitionError: it can't be called so.
    """
    if isinstance(loss, Mapping):
        if not loss:
            raise DefinitionError(f"{what} is an empty dict; give a loss for each output.")
        found: dict[str, Matched] = {}
        for name, one in loss.items():
            each = f"{what}[{name!r}]"
            if isinstance(one, Mapping):
                raise DefinitionError(f"{each} is a dict; it must be one loss.")
            found |= matched(one, each)
            found[each].defaults = {}  # only a single loss has a section in params
        return found
    if isinstance(loss, type):
        cure = f"Give an object: {what} = {loss.__name__}()."
        raise DefinitionError(f"{what} is the class {loss.__name__}. {cure}")
    if not callable(loss):
        raise DefinitionError(f"{what} must be a function; {_not_callable(loss)}")
    called = loss.forward if isinstance(loss, nn.Module) else loss
    offered = _OFFERED
    if callable(loss) and (is_keras_loss(loss) or labels_first(loss, otherwise=False)):
        offered = _LABELS_FIRST
    match = Matched(called, offered, required=offered[:2], positional=2, what=what)
    if called is not loss or is_keras_loss(loss):
        match.defaults = {}  # an object has its settings already
    return {what: match}


def _not_callable(loss: Any) -> str:
    if isinstance(loss, (list, tuple)):
        kinds = ", ".join(repr(one) if isinstance(one, str) else type(one).__name__ for one in loss)
        return (
            f"it is {a_kind(loss)} ({kinds}). For several outputs give a dict by output: "
            "loss = {'NAME': keras.losses.MeanSquaredError(), ...}."
        )
    shown = f"the text {loss!r}" if isinstance(loss, str) else f"{loss!r}"
    return (
        f"it is {shown}. Write def loss(output, labels), or give an object of a loss: "
        "keras.losses.MeanSquaredError() or torch.nn.MSELoss(), say."
    )


def matched_weight(weight: Any) -> Matched | None:
    """Return how the `loss_weight` of a file is called; None where it is "sum" or a number.

    Raises:
      DefinitionError: it is none of these.
    """
    if isinstance(weight, (str, int, float)):
        number = not isinstance(weight, (str, bool)) and weight > 0
        if weight != "sum" and not number:
            raise DefinitionError(
                f"loss_weight is {weight!r}; it must be 'sum', where losses of parts of a batch "
                "add up, a number above 0, or a function of the labels."
            )
        return None
    return Matched(weight, WEIGHT_OFFERED, positional=1, what="loss_weight")


class FileLoss:
    """The loss of a file, and what it counts for.

    Args:
      loss: what the file has as `loss`.
      settings: the section of params of the loss function's own parameters.
      weight: what the file has as `loss_weight`, if anything.
      weight_settings: the same section of `loss_weight`.

    Raises:
      DefinitionError: it can't be called, or several losses count for different things.
    """

    def __init__(
        self,
        loss: Any,
        settings: Mapping[str, Any] | None = None,
        weight: Any = None,
        weight_settings: Mapping[str, Any] | None = None,
    ) -> None:
        names: list[str | None] = list(loss) if isinstance(loss, Mapping) else [None]
        losses = list(loss.values()) if isinstance(loss, Mapping) else [loss]
        self.parts = [
            OneLoss(output, one, match, what, settings if output is None else None)
            for output, one, (what, match) in zip(names, losses, matched(loss).items(), strict=True)
        ]
        self.stated = weight
        self.weight = matched_weight(weight) if weight is not None else None
        self.weight_settings = weight_settings
        if weight is None and len(self.parts) > 1:
            _check_alike(self.parts)

    def register(self) -> None:
        """Make losses that are torch modules part of the program, as the layers they are."""
        for part in self.parts:
            part.registered()

    def __call__(
        self, output: Any, outputs: Mapping[str, Any], labels: Any, params: HParams, mode: str
    ) -> tuple[Tensor, Tensor | float | str | None]:
        """Return the loss of a batch and its `EstimatorSpec.loss_weight`.

        Args:
          output: what the model gave.
          outputs: the same by name.
          labels: the batch's.
          params: the run's.
          mode: the mode of the call.
        """
        values = {"labels": labels, "output": output, "params": params, "mode": mode}
        losses = []
        weight: Any = None
        for part in self.parts:
            with keras_on(outputs):
                loss, weight = part(values, outputs)
            if self.stated is None and len(self.parts) > 1:
                _check_whole(part, outputs)
            losses.append(loss)
        total = losses[0]
        for loss in losses[1:]:
            total = total + loss
        if len(losses) > 1 and not isinstance(weight, str):
            weight = None  # of the last alone
        if self.weight is not None:
            weight = self.weight(values, self.weight_settings)
            if isinstance(weight, (int, float)):  # of this batch alone
                weight = torch.full((), float(weight), device=total.device)
        elif self.stated is not None:
            weight = self.stated
        return total, weight


def _check_alike(parts: list[OneLoss]) -> None:
    totals = [part.counts.total for part in parts]
    stated = [part.what for part in parts if part.counts.stated]
    if any(totals) and not all(totals):
        raise _Unlike("some are sums and some are means")
    if stated:
        raise _Unlike(f"{' and '.join(stated)} leaves labels out or has weights for classes")


def _check_whole(part: OneLoss, outputs: Mapping[str, Any]) -> None:
    masked = mask_of(outputs[part.output or ""]) is not None
    if masked and part.counts.of_keras and not part.counts.total:
        raise _Unlike(f"{part.what} leaves out what the model masks")


class _Unlike(DefinitionError):
    def __init__(self, problem: str) -> None:
        super().__init__(
            f"loss: {problem}, so the losses of parts of a batch can't be put together as that of "
            "the whole. Define loss_weight(labels): what the sum of these losses counts for; or "
            "write def loss(output, labels) beside it."
        )

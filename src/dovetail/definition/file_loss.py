"""The `loss` of a model file: a function, a torch or Keras loss, or one for each output."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.definition.argument_order import labels_first
from dovetail.definition.hparams import HParams
from dovetail.definition.keras_device import keras_on
from dovetail.definition.loss_counts import counts_of, is_keras_loss, mask_of, of_library
from dovetail.definition.signature import Matched, where
from dovetail.errors import DefinitionError, nearest
from dovetail.layers.layer import layer

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
    called = loss.forward if isinstance(loss, nn.Module) else loss
    offered = _OFFERED
    if callable(loss) and (is_keras_loss(loss) or labels_first(loss, otherwise=False)):
        offered = _LABELS_FIRST
    match = Matched(called, offered, required=offered[:2], positional=2, what=what)
    if called is not loss or is_keras_loss(loss):
        match.defaults = {}  # an object has its settings already
    return {what: match}


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
            _Part(output, one, match, what, settings if output is None else None)
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


class _Part:
    """The loss of one output, or of all."""

    def __init__(
        self,
        output: str | None,
        loss: Any,
        match: Matched,
        what: str,
        settings: Mapping[str, Any] | None,
    ) -> None:
        self.output = output
        self.loss = loss
        self.match = match
        self.what = what
        self.settings = settings
        self.counts = counts_of(loss, settings or {}, what)
        self.library = of_library(loss)
        state = [*loss.parameters(), *loss.buffers()] if isinstance(loss, nn.Module) else []
        self.layer_name = None
        if state:
            self.layer_name = "loss" if output is None else f"loss_{output}".replace(".", "_")

    def registered(self) -> Any:
        return self.loss if self.layer_name is None else layer(self.loss, name=self.layer_name)

    def __call__(
        self, values: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor | str | None]:
        output, labels = values["output"], values["labels"]
        if self.output is not None:
            output = output_of(outputs, self.output, self.what)
            labels = labels_of(labels, self.output)
        if self.library:
            output, labels = self._plain(output, labels)
        if self.library or self.output is not None:
            values = {**values, "output": output, "labels": labels}
        args, kwargs = self.match.arguments(values, self.settings)
        loss = self.registered()(*args, **kwargs)
        if not torch.compiler.is_compiling():
            self._check(loss)
        weight = self.counts.weight(output, labels)
        if isinstance(weight, Tensor) and not self.counts.of_keras:
            # torch's mean over no label is nan, which would spoil the parts that have some.
            loss = torch.where(weight > 0, loss, torch.zeros_like(loss))
        return loss, weight

    def _plain(self, output: Any, labels: Any) -> tuple[Any, Any]:
        """Return the tensors that a library's loss takes; class ids as that library has them."""
        output, labels = self._one(output, "output"), self._one(labels, "labels")
        if (
            self.counts.of_classes
            and not is_keras_loss(self.loss)  # which does so itself
            and labels.dim() == output.dim()
            and labels.shape[-1] == 1 != output.shape[-1]
        ):
            labels = labels.squeeze(-1)
        return output, labels

    def _one(self, value: Any, name: str) -> Tensor:
        if isinstance(value, Mapping) and len(value) == 1:
            value = next(iter(value.values()))
        if isinstance(value, Tensor):
            return value
        if value is None:
            raise DefinitionError(f"{self.what}: {_named(self.loss)} needs labels; there are none.")
        names = ", ".join(value) if isinstance(value, Mapping) else f"{len(value)} tensors"
        raise DefinitionError(
            f"{self.what}: {_named(self.loss)} takes one tensor, and the {name} are several "
            f"({names}). Give a loss for each output, loss = {{'NAME': ..., ...}}, or write "
            "def loss(output, labels) that puts them together."
        )

    def _check(self, loss: Any) -> None:
        if isinstance(loss, Tensor) and loss.numel() == 1 and loss.dim() < 2:
            return
        if isinstance(loss, Tensor):
            raise DefinitionError(
                f"{self.what}: {_named(self.loss)} gave values of shape {list(loss.shape)}; a "
                f"loss is a scalar. {_cure(self.loss, self.what)}"
            )
        cure = "Return the loss as a tensor: .item() and float() would cut it off from the gradient"
        if isinstance(loss, tuple):
            cure = "Return the loss alone; what it counts for goes into loss_weight(labels)"
        elif isinstance(loss, Mapping):
            cure = "Return their sum"
        kind = type(loss).__name__
        raise DefinitionError(f"{self.what}: {_named(self.loss)} returned a {kind}. {cure}.")


def output_of(outputs: Mapping[str, Any], name: str, what: str) -> Any:
    """Return the model's output of that name.

    Raises:
      DefinitionError: there is none.
    """
    if name not in outputs:
        have = ", ".join(outputs)
        raise DefinitionError(
            f"{what}: the model has no output '{name}'.{nearest(name, outputs)} Its outputs are: "
            f"{have}."
        )
    return outputs[name]


def labels_of(labels: Any, name: str) -> Any:
    """Return the labels of one output: those under its name, or all where there are none such."""
    return labels[name] if isinstance(labels, Mapping) and name in labels else labels


def _check_alike(parts: list[_Part]) -> None:
    totals = [part.counts.total for part in parts]
    stated = [part.what for part in parts if part.counts.stated]
    if any(totals) and not all(totals):
        raise _Unlike("some are sums and some are means")
    if stated:
        raise _Unlike(f"{' and '.join(stated)} leaves labels out or has weights for classes")


def _check_whole(part: _Part, outputs: Mapping[str, Any]) -> None:
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


def _named(loss: Any) -> str:
    return type(loss).__name__ if isinstance(loss, nn.Module) else where(loss)


def _cure(loss: Any, what: str) -> str:
    keras = sys.modules.get("keras")
    name = getattr(loss, "__name__", "")
    cls = name.title().replace("_", "")
    if keras is not None and of_library(loss) and hasattr(keras.losses, cls):
        return f"Its mean over the examples is {what} = keras.losses.{cls}()."
    return (
        "Take its mean (or its sum, with loss_weight = 'sum' in the file), in "
        "def loss(output, labels)."
    )

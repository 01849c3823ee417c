"""One loss of a model file, called on the tensors that it takes: the user's, torch's or Keras'."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.definition.loss_counts import counts_of, is_keras_loss, of_library
from dovetail.definition.signature import Matched, where
from dovetail.errors import DefinitionError, nearest
from dovetail.layers.layer import layer


class OneLoss:
    """The loss of one output, or of all.

    Args:
      output: the output that it gets; None: what the model gave, as it is.
      loss: a function, a torch module or a Keras loss.
      match: how it is called.
      what: its role, for messages.
      settings: what its own keyword parameters are set to.

    Raises:
      DefinitionError: it gives a loss per example.
    """

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
        """Return the loss; a torch module that holds anything is a layer of the program."""
        return self.loss if self.layer_name is None else layer(self.loss, name=self.layer_name)

    def __call__(
        self, values: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor | str | None]:
        """Return the loss of a batch, and what it counts for."""
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
        unnamed = all(one == f"output_{i}" for i, one in enumerate(outputs))
        cure = f" To name them let the model return a dict: {{'{name}': ..., ...}}."
        raise DefinitionError(
            f"{what}: the model has no output '{name}'.{nearest(name, outputs)} Its outputs are: "
            f"{have}.{cure if unnamed else ''}"
        )
    return outputs[name]


def labels_of(labels: Any, name: str) -> Any:
    """Return the labels of one output: those under its name, or all where there are none such."""
    return labels[name] if isinstance(labels, Mapping) and name in labels else labels


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

"""Classifying images: each is of one of several classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dovetail.definition import metrics
from dovetail.definition.modeler import Modeler
from dovetail.definition.modeler_config import ModelerConfig, TaskConfig
from dovetail.errors import DefinitionError, ParamsError


@dataclass(frozen=True)
class ImageClassificationModelerConfig(TaskConfig):
    """What classifying images needs beside what every modeler needs.

    Args:
      modeler_config: the config that it wraps; its values are found here too.
      num_classes: how many classes there are.
      data_format: "channels_last" or "channels_first": how the images are.

    Raises:
      ParamsError: a value is wrong.

    Example:
      >>> config = ImageClassificationModelerConfig(ModelerConfig(mode="eval"), num_classes=10)
      >>> config.mode, config.num_classes
      ('eval', 10)
    """

    modeler_config: ModelerConfig | TaskConfig
    num_classes: int
    data_format: str = "channels_last"

    def __post_init__(self) -> None:
        if not isinstance(self.modeler_config, (ModelerConfig, TaskConfig)):
            raise ParamsError(
                "ImageClassificationModelerConfig: its first argument is the ModelerConfig that it "
                f"wraps; it is a {type(self.modeler_config).__name__}."
            )
        count = self.num_classes
        if isinstance(count, bool) or not isinstance(count, int) or count < 2:
            raise ParamsError(
                f"ImageClassificationModelerConfig: num_classes={count!r}; it must be a whole "
                "number of at least 2."
            )
        if self.data_format not in ("channels_last", "channels_first"):
            raise ParamsError(
                f"ImageClassificationModelerConfig: data_format={self.data_format!r}; it must be "
                "'channels_last' or 'channels_first'."
            )


class ImageClassificationModeler(Modeler):
    """A pipeline from images and labels to loss, gradients and accuracy; see `build`."""

    def create_graph_fn(self, inputs: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return logits [batch, num_classes], and the predictions `classes` and `probabilities`.

        Args:
          inputs: images, [batch, height, width, channels] or channels first, floating point; or a
            dict that holds them as `image` or `images`.
        """
        if "create_graph_fn" in self._given:
            return super().create_graph_fn(inputs)
        if self.net is None:
            raise DefinitionError(
                "ImageClassificationModeler has no net: give build(config, net), with `net` of a "
                "module of dovetail.nets, or a create_graph_fn."
            )
        config = self.config
        training = None if self.lowered and _follows_the_mode(self.net) else self.is_training
        return self.net(_images(inputs), config.num_classes, training, config.data_format)

    def create_loss_fn(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross entropy of integer labels [batch], with the penalty of L2."""
        if "create_loss_fn" in self._given:
            return super().create_loss_fn(logits, labels)
        return self.with_l2(functional.cross_entropy(logits, labels))

    def create_eval_metrics_fn(self, predictions: Any, labels: Tensor) -> Any:
        """Return the accuracy."""
        if "create_eval_metrics_fn" in self._given:
            return super().create_eval_metrics_fn(predictions, labels)
        return metrics.accuracy(labels=labels, predictions=predictions["classes"])

    def model_fn(self, x: Any) -> Mapping[str, Any]:
        """Return the operators of a batch for `config.mode`.

        Args:
          x: images and labels.

        Returns:
          To train: loss, grads, accuracy, learning_rate; to evaluate: loss, accuracy; to infer:
          classes, probabilities. Metrics that create_eval_metrics_fn gives as a dict have their
          own names.
        """
        images, labels = x[0], x[1] if len(x) > 1 else None
        logits, predictions = self.create_graph_fn(images)
        if self.config.mode == "infer":
            return predictions
        if labels is None:
            raise DefinitionError(
                f"model_fn got images without labels in mode '{self.config.mode}', which needs "
                "them: x is (images, labels)."
            )
        loss = self.create_loss_fn(logits, labels)
        grads = self.create_grad_fn(loss) if self.config.mode == "train" else None
        accuracy = self.create_eval_metrics_fn(predictions, labels)
        measured = accuracy if isinstance(accuracy, Mapping) else {"accuracy": accuracy}
        if self.config.mode == "eval":
            return {"loss": loss, **measured}
        return {
            "loss": loss,
            "grads": grads,
            **measured,
            "learning_rate": self.learning_rate,
        }


def build(
    config: ModelerConfig | TaskConfig,
    net: Callable[..., Any] | None = None,
    **pieces: Callable[..., Any],
) -> ImageClassificationModeler:
    """Make the modeler that classifies images.

    Args:
      config: with `num_classes`: an `ImageClassificationModelerConfig`, or one that wraps it.
      net: `net(inputs, num_classes, is_training, data_format) -> (logits, predictions)`.
      **pieces: functions for pieces of `Modeler`, such as create_loss_fn.

    Raises:
      DefinitionError: the config has no num_classes, or a function can't be called.

    Example:
      >>> from dovetail.nets.resnet20 import net
      >>> config = ModelerConfig(mode="infer")
      >>> modeler = build(ImageClassificationModelerConfig(config, num_classes=10), net)
      >>> operators = modeler.model_fn((torch.zeros(2, 32, 32, 3), None))
      >>> operators["classes"].shape, operators["probabilities"].shape
      (torch.Size([2]), torch.Size([2, 10]))
    """
    if not hasattr(config, "num_classes"):
        raise DefinitionError(
            "image_classification.build: the config has no num_classes. Wrap it: "
            "ImageClassificationModelerConfig(modeler_config, num_classes=10)."
        )
    return ImageClassificationModeler(config, net, **pieces)


def _images(inputs: Any) -> Tensor:
    if isinstance(inputs, Mapping):
        name = next((name for name in ("image", "images") if name in inputs), None)
        if name is None:
            raise DefinitionError(
                f"The features are {', '.join(inputs)}, and none of them is 'image' or 'images'. "
                "Let input_fn give the images alone or by that name, or give a create_graph_fn."
            )
        inputs = inputs[name]
    if not torch.is_floating_point(inputs):
        raise DefinitionError(
            f"The images are {inputs.dtype}, and a net takes floating point. Write "
            "preprocess(features) in the model's file, or a create_graph_fn, that converts them: "
            "image.to(torch.float32) / 255."
        )
    return inputs


def _follows_the_mode(net: Callable[..., Any]) -> bool:
    """Whether a net takes None for "as the program's mode is", as those of dovetail.nets do.

    A net with True and False is given these; a program that holds statistics needs None.
    """
    if net not in _FOLLOWS:
        try:
            parameter = inspect.signature(net).parameters.get("is_training")
        except (TypeError, ValueError):
            parameter = None
        _FOLLOWS[net] = parameter is not None and parameter.default is None
    return _FOLLOWS[net]


_FOLLOWS: dict[Callable[..., Any], bool] = {}

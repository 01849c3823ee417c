"""Modelers: a model pipeline in pieces, whose model_fn gives a dict of operators."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.definition.argument_order import labels_first
from dovetail.definition.metrics import MetricOp
from dovetail.definition.modeler_config import ModelerConfig, TaskConfig
from dovetail.definition.modes import ModeKeys
from dovetail.definition.name_filters import chosen
from dovetail.definition.optimizers import Optimizer, as_description, get
from dovetail.definition.schedule_epochs import EpochLength, PiecewiseEpochs
from dovetail.definition.schedules import Schedule
from dovetail.definition.signature import Matched
from dovetail.errors import DefinitionError, a_kind
from dovetail.layers.regularizers import l2_loss
from dovetail.layers.store import Store, current_frame, entered, in_call

# piece -> what a function that is given for it is called with; those after the first `positional`
# ones only if it asks for them by name.
_PIECES: dict[str, tuple[tuple[str, ...], int]] = {
    "create_graph_fn": (("inputs", "config"), 1),
    "create_loss_fn": (("logits", "labels", "config"), 2),
    "create_grad_fn": (("loss", "config"), 1),
    "create_eval_metrics_fn": (("predictions", "labels", "config"), 2),
    "create_optimizer": (("learning_rate", "config"), 1),
    "create_learning_rate_fn": (("config",), 0),
    "model_fn": (("x", "modeler", "config"), 1),
}


def with_layers(model_fn: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Let a modeler's model_fn be called directly: with layers, and metrics as their values."""

    @functools.wraps(model_fn)
    def called(self: Modeler, x: Any) -> Any:
        if self.lowered:
            return model_fn(self, x)
        with contextlib.nullcontext() if in_call() else entered(self.store):
            _root().train(self.is_training)
            return _values(model_fn(self, x))

    return called


class Modeler:
    """A model pipeline: from a batch to a dict of operators, by `model_fn(x)`.

    Each piece can be given as a function, or be a method of a subclass. A function is called with
    what its method is called with, and with `config` if it has a parameter of that name.

    Args:
      config: a `ModelerConfig`, or a task's config that wraps one.
      net: of the task, called by its `create_graph_fn`.
      create_graph_fn: `(inputs) -> (logits, predictions)`.
      create_loss_fn: `(logits, labels) -> loss`, a scalar; what l2_weight_decay gives is added. One
        of `(y_true, y_pred)`, as Keras' are, gets the labels first: names decide.
      create_grad_fn: `(loss) -> grads`.
      create_eval_metrics_fn: `(predictions, labels)` -> a metric, a tensor, or a dict of them.
      create_optimizer: `(learning_rate)` -> one of `dovetail.optimizers` or of Keras'.
      create_learning_rate_fn: `()` -> a number, or a schedule of the global step.
      model_fn: `(x, modeler)` -> a dict of operators, instead of the method.

    Attributes:
      config: in the mode of the present call.
      store: what holds the layers where model_fn is called directly, outside of any scope.

    Raises:
      DefinitionError: a function can't be called so.

    Example:
      >>> from dovetail import layers
      >>> modeler = Modeler(
      ...     ModelerConfig(mode="train", optimizer="sgd", learning_rate=0.1),
      ...     create_graph_fn=lambda inputs: (layers.dense(inputs, 1, scope="out"), {}),
      ...     create_loss_fn=lambda logits, labels: (logits - labels).square().mean(),
      ...     create_eval_metrics_fn=lambda predictions, labels: {},
      ... )
      >>> operators = modeler.model_fn((torch.ones(4, 2), torch.ones(4, 1)))
      >>> sorted(operators), sorted(operators["grads"])
      (['grads', 'learning_rate', 'loss'], ['out.bias', 'out.weight'])
    """

    def __init__(
        self,
        config: ModelerConfig | TaskConfig,
        net: Callable[..., Any] | None = None,
        *,
        create_graph_fn: Callable[..., Any] | None = None,
        create_loss_fn: Callable[..., Tensor] | None = None,
        create_grad_fn: Callable[..., Any] | None = None,
        create_eval_metrics_fn: Callable[..., Any] | None = None,
        create_optimizer: Callable[..., Optimizer] | None = None,
        create_learning_rate_fn: Callable[..., float | Schedule] | None = None,
        model_fn: Callable[..., Mapping[str, Any]] | None = None,
    ) -> None:
        if not isinstance(config, (ModelerConfig, TaskConfig)):
            raise DefinitionError(
                f"{type(self).__name__}: config must be a ModelerConfig or a task's config that "
                f"wraps one; it is {a_kind(config)}."
            )
        if net is not None and not callable(net):
            raise DefinitionError(
                f"{type(self).__name__}: net must be a function of (inputs, num_classes, "
                f"is_training, data_format); it is {a_kind(net)}. A module of "
                "dovetail.nets has it as `net`."
            )
        self.config: Any = config
        self.net = net
        given = {
            "create_graph_fn": create_graph_fn,
            "create_loss_fn": create_loss_fn,
            "create_grad_fn": create_grad_fn,
            "create_eval_metrics_fn": create_eval_metrics_fn,
            "create_optimizer": create_optimizer,
            "create_learning_rate_fn": create_learning_rate_fn,
            "model_fn": model_fn,
        }
        self._given = {
            name: Matched(
                function, _offered(name, function), positional=_PIECES[name][1], what=name
            )
            for name, function in given.items()
            if function is not None
        }
        if "model_fn" in self._given:
            self.model_fn = self._given_model_fn
        self.store = Store()
        # Of the copy that a program runs: which names the filters chose, and its optimizer.
        self.lowered = False
        self.epoch = EpochLength()
        self._kept: dict[str, Any] = {}

    def __init_subclass__(cls) -> None:
        if "model_fn" in vars(cls):  # as the page writes it, without a word of layers
            cls.model_fn = with_layers(vars(cls)["model_fn"])

    # The pieces.

    def create_graph_fn(self, inputs: Any) -> tuple[Any, Any]:
        """Return `(logits, predictions)` of a batch of inputs."""
        return self._call("create_graph_fn", inputs=inputs)

    def create_loss_fn(self, logits: Any, labels: Any) -> Tensor:
        """Return the loss, shape [], with the penalty of l2_weight_decay."""
        return self.with_l2(self._call("create_loss_fn", logits=logits, labels=labels))

    def create_grad_fn(self, loss: Tensor) -> Any:
        """Return the gradients of a loss: parameter's name -> gradient.

        In a program it is a token that the program fills after its own backward pass.
        """
        if "create_grad_fn" in self._given:
            return self._call("create_grad_fn", loss=loss)
        var_list = self.trained_names()
        if self.lowered:
            return self.optimizer.compute_gradients(loss, var_list)
        named = dict(_root().named_parameters())
        if var_list is not None:
            named = {name: named[name] for name in var_list}
        named = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
        gradients = torch.autograd.grad(
            loss, list(named.values()), retain_graph=True, allow_unused=True
        )
        return {n: g for n, g in zip(named, gradients, strict=True) if g is not None}

    def create_eval_metrics_fn(self, predictions: Any, labels: Any) -> Any:
        """Return a metric, or a dict of them; called directly model_fn gives the batch's values."""
        return self._call("create_eval_metrics_fn", predictions=predictions, labels=labels)

    def create_optimizer(self, learning_rate: float | Schedule | None) -> Optimizer:
        """Return the description of the optimizer: the config's, with this learning rate."""
        if "create_optimizer" in self._given:
            return self._call("create_optimizer", learning_rate=learning_rate)
        optimizer = self.config.optimizer
        if isinstance(optimizer, Optimizer):
            return optimizer
        if optimizer is None:
            raise DefinitionError(
                f"{type(self).__name__}: training needs an optimizer. Give ModelerConfig("
                "optimizer='momentum', learning_rate=0.01), or a create_optimizer function."
            )
        if learning_rate is None:
            return get(optimizer)
        return get(optimizer, learning_rate=learning_rate)

    def create_learning_rate_fn(self) -> float | Schedule | None:
        """Return the learning rate: a number, or a schedule of the global step."""
        if "create_learning_rate_fn" in self._given:
            return self._call("create_learning_rate_fn")
        config = self.config
        if isinstance(config.optimizer, Optimizer):
            return config.optimizer.learning_rate
        rate, decays = config.learning_rate, config.piecewise_learning_rate_decay
        if not decays:
            return rate
        values = tuple(rate * decay for decay in decays)
        return PiecewiseEpochs(
            config.piecewise_boundaries, values, config.num_examples, config.batch_size, self.epoch
        )

    @property
    def learning_rate(self) -> Any:
        """The learning rate: a number; in a program the schedule, if it is one.

        Where model_fn is called directly, no step has been taken: it is that of step 0.
        """
        rate = self.create_learning_rate_fn()
        return rate(0) if callable(rate) and not self.lowered else rate

    @with_layers
    def model_fn(self, x: Any) -> Mapping[str, Any]:
        """Return the operators of a batch for `config.mode`.

        Args:
          x: `(inputs, labels)`; the labels are not looked at to infer.

        Returns:
          To train: loss, grads, learning_rate, and the metrics by name (a single one is
          `metric`); to evaluate: loss and the metrics; to infer: the predictions.
        """
        inputs, labels = x[0], x[1] if len(x) > 1 else None
        logits, predictions = self.create_graph_fn(inputs)
        if self.config.mode == ModeKeys.PREDICT:
            return predictions
        loss = self.create_loss_fn(logits, labels)
        operators: dict[str, Any] = {"loss": loss}
        if self.config.mode == ModeKeys.TRAIN:
            operators["grads"] = self.create_grad_fn(loss)
            operators["learning_rate"] = self.learning_rate
        metrics = self.create_eval_metrics_fn(predictions, labels)
        return {
            **operators,
            **(metrics if isinstance(metrics, Mapping) else {"metric": metrics}),
        }

    # What the pieces are made with.

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer's description, with its learning rate."""
        if "optimizer" not in self._kept or not self.lowered:
            made = self.create_optimizer(self.create_learning_rate_fn())
            try:
                self._kept["optimizer"] = as_description(made)
            except DefinitionError as error:
                name = f"{type(self).__name__}.create_optimizer"
                raise DefinitionError(f"{name} returned what is no optimizer. {error}") from error
        return self._kept["optimizer"]

    @property
    def is_training(self) -> bool:
        """Whether the mode is training."""
        return self.config.mode == ModeKeys.TRAIN

    def with_l2(self, loss: Tensor) -> Tensor:
        """Return a loss with the penalty that l2_weight_decay asks for.

        A subclass that has its own create_loss_fn returns `self.with_l2(loss)`.
        """
        scale = self.config.l2_weight_decay
        if not scale:
            return loss
        root = _root()
        names = self._names("l2", None, self.config.skip_l2_loss_vars, "skip_l2_loss_vars")
        penalty = sum((l2_loss(root.get_parameter(name)) for name in names), loss.new_zeros(()))
        return loss + scale * penalty

    def trained_names(self) -> tuple[str, ...] | None:
        """Return the names of the parameters that trainable_vars means; None for all."""
        only = self.config.trainable_vars
        return None if only is None else self._names("var_list", only, (), "trainable_vars")

    def check_used(self) -> None:
        """Refuse, after a program's first training call, a value that a piece did not heed."""
        for key, value, cure in (
            ("l2", "l2_weight_decay", "create_loss_fn must return self.with_l2(loss)"),
            ("var_list", "trainable_vars", "create_grad_fn must take self.trained_names()"),
        ):
            if getattr(self.config, value) and key not in self._kept:
                raise DefinitionError(
                    f"{type(self).__name__}: {value}={getattr(self.config, value)!r} was not "
                    f"used: {cure}, or leave the value out of the config."
                )

    def _call(self, piece: str, **values: Any) -> Any:
        given = self._given.get(piece)
        if given is None:
            raise DefinitionError(
                f"{type(self).__name__} has no {piece}. Give it as a function, "
                f"{type(self).__name__}(config, {piece}=...), or as a method of a subclass; a "
                "task of dovetail.tasks has its own."
            )
        return given({**values, "config": self.config})

    @with_layers
    def _given_model_fn(self, x: Any) -> Mapping[str, Any]:
        return self._call("model_fn", x=x, modeler=self)

    def _names(self, key: str, only: Any, skip: Any, what: str) -> tuple[str, ...]:
        """Return the parameters that filters mean; a program asks once, in its first call."""
        if not self.lowered or key not in self._kept:
            names = [name for name, _ in _root().named_parameters()]
            self._kept[key] = chosen(names, only=only, skip=skip, what=what)
        return self._kept[key]


def _offered(piece: str, function: Any) -> tuple[str, ...]:
    """Return what a piece is called with, in the order that the function's own names say."""
    offered = _PIECES[piece][0]
    if piece in ("create_loss_fn", "create_eval_metrics_fn") and labels_first(function, False):
        return (offered[1], offered[0], *offered[2:])
    return offered


def _root() -> nn.Module:
    """Return the module that holds every layer of the present call."""
    root = current_frame().owner.root[0]  # pyright: ignore[reportIndexIssue]
    assert isinstance(root, nn.Module)
    return root


def _values(operators: Any) -> Any:
    """Return operators with metrics as their values for this batch."""
    if isinstance(operators, Mapping):
        return {name: _values(operator) for name, operator in operators.items()}
    if not isinstance(operators, MetricOp):
        return operators
    state: Any = operators.build()
    with torch.no_grad():
        state.update(**operators.tensors)
        return state.compute()

"""A metric as a frozen value: the description of a state, and the tensors it is fed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dovetail.errors import DefinitionError, a_kind


@dataclass(frozen=True, eq=False)
class MetricOp:
    """What to measure (factory and kwargs, static) and on which tensors (of each batch).

    Args:
      factory: builds the metric's state from `kwargs`; the state has `update(**tensors)`,
        `compute()` and `reset()`.
      kwargs: what the factory is given, as (name, value) pairs.
      tensors: this batch's tensors, by the name of `update`'s argument.
    """

    factory: Callable[..., object]
    kwargs: tuple[tuple[str, object], ...] = ()
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def build(self) -> object:
        """Return a fresh state object for this metric."""
        return self.factory(**dict(self.kwargs))

    def same_metric(self, other: MetricOp) -> bool:
        """Return whether `other` measures the same thing, on whatever tensors."""
        return (
            self.factory == other.factory
            and self.kwargs == other.kwargs
            and list(self.tensors) == list(other.tensors)
        )


def measure(factory: Callable[..., object], *tensors: Tensor, **kwargs: object) -> MetricOp:
    """Measure with a torchmetrics or Keras class, or one with `update`, `compute` and `reset`.

    Args:
      factory: the class (not an object of it: an object made inside a model_fn would be made
        anew at each step), or a function that returns such an object.
      *tensors: what its `update` is given, in order: most torchmetrics take (preds, target), and
        Keras' `update_state` takes (y_true, y_pred, sample_weight).
      **kwargs: what the factory is given.

    Raises:
      DefinitionError: factory is an object, or one of tensors is no tensor.

    >>> import torch, torchmetrics
    >>> from dovetail.definition.metric_set import MetricSet
    >>> op = measure(torchmetrics.R2Score, torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]))
    >>> metrics = MetricSet({"r2": op})
    >>> metrics.update({"r2": op.tensors})
    >>> metrics.compute()
    {'r2': 1.0}
    """
    is_object = isinstance(factory, torch.nn.Module) or hasattr(factory, "update_state")
    if (is_object and not isinstance(factory, type)) or not callable(factory):
        raise DefinitionError(
            f"metrics.measure: its first argument is an object, {type(factory).__name__}(...); "
            "give the class and its arguments, as in "
            "metrics.measure(torchmetrics.F1Score, predictions, labels, task='binary'), "
            "so that it is made once and not at every step."
        )
    named = {f"arg{i}": tensor for i, tensor in enumerate(tensors)}
    settings = (("state", "Measured"), ("factory", factory), ("kwargs", tuple(kwargs.items())))
    return MetricOp(build_state, settings, tensors_of("measure", **named))


def from_value(value: object, name: str) -> MetricOp:
    """Return the MetricOp for an entry of eval_metric_ops: itself, or the mean of a tensor.

    Args:
      value: a MetricOp; a tensor of a value per example; or a scalar (tensor or number), taken as
        a mean over the batch, which weighs by `MetricSet.update`'s weight, the number of examples.
      name: the entry's key, for the message.

    Raises:
      DefinitionError: value is anything else.

    >>> from_value(0.5, "share").tensors["values"].item()
    0.5
    """
    if isinstance(value, MetricOp):
        return value
    if isinstance(value, (int, float)):
        value = torch.tensor(float(value))
    if isinstance(value, torch.Tensor):
        return described("mean", "ExampleMean", {"values": value})
    cure = "give metrics.NAME(labels=..., predictions=...), a tensor, or metrics.measure(...)"
    if isinstance(value, torch.nn.Module) or hasattr(value, "update") or hasattr(value, "result"):
        cure = "give its class: metrics.measure(Class, *tensors, **its_arguments)"
    elif isinstance(value, tuple):
        cure = "a (value, update_op) pair is not needed here: give the metric or the tensor itself"
    raise DefinitionError(
        f"eval_metric_ops[{name!r}] is {a_kind(value)}, not a metric or a tensor; {cure}."
    )


def tensors_of(metric: str, **given: object) -> dict[str, Tensor]:
    """Keep what was given, refusing what is no tensor; shapes are checked at each update."""
    tensors = {}
    for argument, value in given.items():
        if value is None and argument == "weights":
            continue
        if isinstance(value, (int, float)):
            value = torch.tensor(value)
        if not isinstance(value, torch.Tensor):
            cure = " (in PREDICT there are none: return the spec before)" if value is None else ""
            raise DefinitionError(
                f"metrics.{metric}: {argument} must be a tensor, and is {a_kind(value)}{cure}."
            )
        tensors[argument] = value
    return tensors


def described(metric: str, state: str, tensors: dict[str, object], **settings: object) -> MetricOp:
    """Return the MetricOp for one of Dovetail's own states.

    Args:
      metric: the name of the function in `dovetail.metrics`, for messages.
      state: the name of the state's class.
      tensors: what its `update` is given, by name; weights may be None.
      **settings: what the class is given.
    """
    pairs = (("state", state), *settings.items())
    return MetricOp(build_state, pairs, tensors_of(metric, **tensors))


def build_state(state: str, **settings: object) -> object:
    """Return a new state of the class of that name, importing torchmetrics (0.7 s) only now."""
    from dovetail.definition import metric_states, roc_auc

    home = roc_auc if hasattr(roc_auc, state) else metric_states
    return getattr(home, state)(**settings)

"""A definition's model_fn as one nn.Module: it holds every parameter and gives plain tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.definition.definition import ModelFn
from dovetail.definition.metrics import MetricOp, from_value
from dovetail.definition.modes import ModeKeys
from dovetail.definition.optimizers import TrainOp
from dovetail.definition.schedule_epochs import EpochLength
from dovetail.definition.signature import Matched, where
from dovetail.definition.spec import EstimatorSpec
from dovetail.errors import DefinitionError, a_kind
from dovetail.layers.keras.variables import KerasGroup
from dovetail.layers.normalization import BatchNorm
from dovetail.layers.store import Store, enter, leave


@dataclass(frozen=True, eq=False)
class Minimized:
    """What one train_op says that does not change: who steps, and over which parameters."""

    optimizer: Any
    var_list: Any = None
    given_gradients: tuple[Any, ...] | None = None


@dataclass(frozen=True, eq=False)
class Statics:
    """The half of a spec that does not change from step to step, read once per mode.

    Attributes:
      train_ops: name -> who steps; a single one is named "optimizer".
      metrics: name -> the metric; its tensors are those of the first call and are not used.
      host_function: the function of host_call, if there is one.
      loss_weight: None, "sum", a number, or "tensor" where each call gives its own.
    """

    train_ops: Mapping[str, Minimized] = field(default_factory=dict)
    metrics: Mapping[str, MetricOp] = field(default_factory=dict)
    host_function: Callable[..., Any] | None = None
    loss_weight: float | str | None = None


class Network(Store):
    """The one module of a program.

    Its forward takes `(features, labels)` and gives a dict of tensors: `loss`, `predictions`,
    `metrics`, and what else the spec holds. That the result is a plain dict is a condition of
    torch.export and of DDP with a static graph.

    Attributes:
      mode: the mode that the next call runs in.
      summary_step: whether this step's metrics and summaries will be looked at.
      statics: what each mode's first call said that does not change.
      epoch: how long an epoch of the training is, where the run knows.
      held: modules that stay in evaluation mode, since their statistics are frozen.
    """

    global_step: Tensor

    def __init__(
        self,
        model_fn: ModelFn,
        *,
        params: Any,
        config: Any,
        preprocess: Matched | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.model_fn = model_fn
        self.preprocess = preprocess
        self.params = params
        self.config = config
        self.device = device
        self.mode: str = ModeKeys.TRAIN
        self.summary_step = True
        self.statics: dict[str, Statics] = {}
        self.epoch = EpochLength()
        self.held: list[nn.Module] = []
        self.register_buffer(
            "global_step", torch.zeros((), dtype=torch.int64, device=device), persistent=False
        )

    def hold(self, modules: Sequence[nn.Module]) -> None:
        """Keep these modules in evaluation mode, whatever the mode of the rest."""
        self.held = list(modules)
        for module in modules:
            module.train(False)
            if isinstance(module, BatchNorm):
                module.held = True
            elif isinstance(module, KerasGroup):
                module.hold()

    def train(self, mode: bool = True) -> Network:
        super().train(mode)
        for module in self.held:
            module.train(False)
        return self

    def forward(self, features: Any, labels: Any = None) -> dict[str, Any]:
        mode = self.mode
        frame, previous = enter(self)
        try:
            if self.preprocess is not None:
                features = self.preprocess(
                    {"features": features, "params": self.params, "mode": mode},
                    self.params.get("preprocess"),
                )
                if features is None:
                    raise DefinitionError(
                        f"preprocess: {where(self.preprocess.function)} returned nothing; it must "
                        "return the features. Is a `return` missing?"
                    )
            spec = self.model_fn(
                features=features, labels=labels, mode=mode, params=self.params, config=self.config
            )
        finally:
            leave(previous)
        if not torch.compiler.is_compiling():
            self._read_statics(spec)
        return _tensors(spec, frame.summaries)

    def _read_statics(self, spec: object) -> None:
        mode = self.mode
        if not isinstance(spec, EstimatorSpec):
            raise DefinitionError(
                f"model_fn returned {a_kind(spec)} in {ModeKeys(mode).name} mode; it must "
                "return dovetail.EstimatorSpec(mode, ...)."
            )
        if spec.mode != mode:
            raise DefinitionError(
                f"model_fn was called in {ModeKeys(mode).name} mode and returned a spec for "
                f"{ModeKeys(spec.mode).name}: pass on the mode that it got."
            )
        first = self.statics.get(mode)
        if first is None or (self.summary_step and not first.metrics):
            self.statics[mode] = _statics(spec)
        if first is not None:
            _check_unchanged(first, spec)


def train_ops(spec: EstimatorSpec) -> Mapping[str, TrainOp]:
    """Return the spec's train_ops by name; a single one is named "optimizer"."""
    op = spec.train_op
    if op is None or spec.mode != ModeKeys.TRAIN:
        return {}
    return {"optimizer": op} if isinstance(op, TrainOp) else op


def _metric_ops(spec: EstimatorSpec) -> Mapping[str, MetricOp | Tensor]:
    if spec.eval_metric_ops is not None:
        return spec.eval_metric_ops
    given = spec.host_call
    return {} if given is None or isinstance(given, tuple) else given


def _statics(spec: EstimatorSpec) -> Statics:
    weight = spec.loss_weight
    return Statics(
        train_ops={
            name: Minimized(op.optimizer, op.var_list, _gradient_keys(op.grads))
            for name, op in train_ops(spec).items()
        },
        metrics={name: _without_tensors(op, name) for name, op in _metric_ops(spec).items()},
        host_function=spec.host_call[0] if isinstance(spec.host_call, tuple) else None,
        loss_weight="tensor" if isinstance(weight, Tensor) else weight,
    )


def _check_unchanged(first: Statics, spec: EstimatorSpec) -> None:
    ops = train_ops(spec)
    if ops.keys() != first.train_ops.keys():
        raise DefinitionError(
            f"model_fn returned the train_ops {list(ops)} at this step and {list(first.train_ops)} "
            "at the first. They must be the same at every step."
        )
    for name, op in ops.items():
        now, then = op.optimizer, first.train_ops[name].optimizer
        if now is not then and now != then:
            raise DefinitionError(
                f"model_fn describes another optimizer at this step ({now}) than at the first "
                f"({then}). The program keeps one optimizer: for a learning rate that changes "
                "give it a schedule of dovetail.optimizers.schedules."
            )


def _without_tensors(op: MetricOp | Tensor, name: str) -> MetricOp:
    metric = from_value(op, name)
    return MetricOp(metric.factory, metric.kwargs)


def _gradient_keys(grads: Any) -> tuple[Any, ...] | None:
    """Return the parameters whose gradients model_fn gives itself, by name or as they are."""
    if grads is None:
        return None
    if isinstance(grads, Mapping):
        return tuple(grads)
    return tuple(parameter for _, parameter in grads)


def _tensors(spec: EstimatorSpec, summaries: dict[str, Tensor]) -> dict[str, Any]:
    """Return the half of a spec that every step yields."""
    tensors: dict[str, Any] = {}
    loss = spec.loss
    if loss is not None:
        loss = loss if loss.dim() == 0 else loss.reshape(())
        tensors["loss"] = loss
    if isinstance(spec.loss_weight, Tensor):
        tensors["loss_weight"] = spec.loss_weight.reshape(())
    if spec.predictions is not None:
        tensors["predictions"] = (
            {"output": spec.predictions}
            if isinstance(spec.predictions, Tensor)
            else dict(spec.predictions)
        )
    losses: dict[str, Tensor] = {}
    gradients: dict[str, list[Tensor | None]] = {}
    for name, op in train_ops(spec).items():
        grads = op.grads
        if grads is not None:
            values = grads.values() if isinstance(grads, Mapping) else [g for g, _ in grads]
            gradients[name] = list(values)
            continue
        target = op.loss
        assert target is not None
        losses[name] = target if target.dim() == 0 else target.reshape(())
    if losses:
        tensors["train_losses"] = losses
    if gradients:
        tensors["gradients"] = gradients
    ops = _metric_ops(spec)
    if ops:
        tensors["metrics"] = {
            name: dict(op.tensors) if isinstance(op, MetricOp) else {"values": op}
            for name, op in ops.items()
        }
    if isinstance(spec.host_call, tuple):
        tensors["host_call"] = list(spec.host_call[1])
    if spec.export_outputs is not None and spec.mode == ModeKeys.PREDICT:
        tensors["export_outputs"] = {
            name: dict(value) if isinstance(value, Mapping) else {"output": value}
            for name, value in spec.export_outputs.items()
        }
    if summaries:
        tensors["summaries"] = dict(summaries)
    return tensors

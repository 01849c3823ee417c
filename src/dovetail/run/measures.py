"""Numbers of a batch or of a whole evaluation: loss, metrics and what host_call computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dovetail.definition.metrics import MetricSet, from_value
from dovetail.definition.modes import ModeKeys
from dovetail.errors import DefinitionError, a_kind
from dovetail.program.network import Statics
from dovetail.program.program import Program
from dovetail.run.summaries import SummaryWriter


class HostCall:
    """Runs a spec's host function on the values of one step and keeps the metrics it returns."""

    def __init__(self, statics: Statics) -> None:
        self.function = statics.host_function
        self.metrics: MetricSet | None = None

    def update(self, output: Mapping[str, Any], examples: int) -> None:
        if self.function is None:
            return
        result = self.function(*[tensor.detach().cpu() for tensor in output["host_call"]])
        if not isinstance(result, Mapping):
            raise DefinitionError(
                f"The function of host_call returned {a_kind(result)}; it must return a "
                "dict of name -> metric or tensor, as eval_metric_ops."
            )
        for name in ("loss", "global_step"):
            if name in result:
                raise DefinitionError(
                    f"The function of host_call returned '{name}', which every evaluation shows of "
                    "its own. Give this metric another name."
                )
        ops = {name: from_value(value, name) for name, value in result.items()}
        if self.metrics is None:
            self.metrics = MetricSet(ops)
        self.metrics.update({name: op.tensors for name, op in ops.items()}, weight=examples)

    def compute(self) -> dict[str, Any]:
        return self.metrics.compute() if self.metrics is not None else {}


class MeanLoss:
    """The loss over many batches, each counting what its `loss_weight` says; no waiting."""

    def __init__(self, device: torch.device) -> None:
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        self.total: Tensor | float = 0.0
        self.weight: Tensor | float = 0.0

    def update(self, output: Mapping[str, Any], stated: float | str | None, examples: int) -> None:
        loss = output["loss"].detach().to(self.dtype)
        if stated == "sum":
            self.total, self.weight = self.total + loss, 1.0
            return
        weight: Any = examples if stated is None else stated
        if "loss_weight" in output:
            weight = output["loss_weight"].detach().to(self.dtype)
        self.total = self.total + loss * weight
        self.weight = self.weight + weight

    def compute(self) -> float:
        return float(self.total / self.weight)


def measured(
    program: Program, output: Mapping[str, Any], loss: Tensor, examples: int
) -> dict[str, float]:
    """Return the scalars of one training step: loss, learning rate, metrics of the batch."""
    statics = program.statics(ModeKeys.TRAIN)
    values: dict[str, Any] = {"loss": float(loss), "learning_rate": program.learning_rate}
    for name in ("loss_scale", "skipped_steps"):  # of fp16
        if name in output:
            values[name] = float(output[name])
    if statics.metrics and "metrics" in output:
        metrics = MetricSet(statics.metrics)
        metrics.update(output["metrics"], weight=examples)
        values.update(metrics.compute())
    host = HostCall(statics)
    host.update(output, examples)
    values.update(host.compute())
    return {name: value for name, value in values.items() if isinstance(value, float)}


def write_summaries(writer: SummaryWriter, summaries: Mapping[str, Tensor], step: int) -> None:
    """Write what a model_fn recorded with `dovetail.summary`."""
    for key, value in summaries.items():
        kind, _, name = key.partition("/")
        if kind == "scalar":
            writer.scalars({name: float(value)}, step)
        elif kind == "image":
            writer.image(name, value, step)
        elif kind == "histogram":
            writer.histogram(name, value, step)
        else:
            writer.text(name, bytes(value.tolist()).decode(), step)

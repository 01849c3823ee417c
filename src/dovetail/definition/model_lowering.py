"""The parts of a model file, lowered to one model_fn."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from dovetail.definition import file_metrics, optimizers
from dovetail.definition.definition import ModelFn
from dovetail.definition.features_call import features_call
from dovetail.definition.file_loss import WEIGHT_OFFERED, FileLoss
from dovetail.definition.hparams import HParams
from dovetail.definition.modes import ModeKeys
from dovetail.definition.signature import Matched, where
from dovetail.definition.spec import EstimatorSpec
from dovetail.errors import DefinitionError, a_kind
from dovetail.layers.keras.copying import copied
from dovetail.layers.keras.objects import is_keras_layer
from dovetail.layers.layer import layer
from dovetail.layers.regularizers import regularization_loss
from dovetail.layers.store import current_frame


@dataclass(frozen=True)
class Part:
    """How one part of a file is called.

    Attributes:
      offered: the arguments on offer.
      positional: how many of them go by position, under names of the user's own.
      optional: how many of those it may leave out, from the last on.
    """

    offered: tuple[str, ...]
    positional: int = 0
    optional: int = 0

    @property
    def required(self) -> tuple[str, ...]:
        """The arguments that the part must take."""
        return self.offered[: self.positional - self.optional]


PARTS = {
    "model": Part(("params",)),
    "loss": Part(("output", "labels", "params", "mode"), 2),
    "loss_weight": Part(WEIGHT_OFFERED, 1),
    "optimizer": Part(("params",)),
    "eval_metrics_fn": Part(file_metrics.OFFERED, 2),
    "data_schema": Part(()),
    "input_fn": Part(("records", "params", "mode", "config"), 1),
    "prepare_data_for_a_single_file": Part(("filename",), 1),
    "custom_data_reader": Part(()),
    "preprocess": Part(("features", "params", "mode"), 1),
    "process": Part(("predictions", "worker_id"), 2, optional=1),
    "callbacks": Part(("params",)),
}


def settings(params: HParams, name: str) -> Mapping[str, Any] | None:
    value = params.get(name)
    return dict(value) if isinstance(value, HParams) else None


def lower(module: ModuleType, params: HParams, pristine: Any) -> ModelFn:
    """Make the model_fn of a freshly executed model file.

    `pristine` is the `model` of the file's first execution, which no program has used. A file that
    imports its model gives the same object again at every execution: then it is copied.
    """
    network = _make_model(module, params)
    if network is pristine:
        network = copied(network) if is_keras_layer(network) else copy.deepcopy(network)
    call = features_call(network)
    penalised = is_keras_layer(network)

    def matched(name: str) -> Matched | None:
        function = getattr(module, name, None)
        part = PARTS[name]
        if function is None:
            return None
        return Matched(function, part.offered, positional=part.positional, what=name)

    optimizer_fn, metrics = map(matched, ("optimizer", "eval_metrics_fn"))
    assert optimizer_fn is not None
    own = {name: settings(params, name) for name in ("loss", "loss_weight", "eval_metrics_fn")}
    stated = getattr(module, "loss_weight", None)
    loss_fn = FileLoss(module.loss, own["loss"], stated, own["loss_weight"])
    metrics_fn = (
        file_metrics.FileMetrics(metrics, own["eval_metrics_fn"]) if metrics is not None else None
    )
    optimizer = _described(optimizer_fn, params)

    def model_fn(features: Any, labels: Any, mode: Any, params: Any, config: Any) -> EstimatorSpec:
        output = call(layer(network, name="model"), features)
        predictions = _as_predictions(output)
        loss_fn.register()
        if mode == ModeKeys.PREDICT:
            return EstimatorSpec(mode, predictions=predictions)
        loss, weight = loss_fn(output, predictions, labels, params, mode)
        if penalised and current_frame().regularization:
            loss = loss + regularization_loss()  # what Keras' own fit adds
        ops = None
        # In training metrics are shown at summary steps only, so they are computed only there.
        if metrics_fn is not None and (mode == ModeKeys.EVAL or _summary_step()):
            ops = metrics_fn(output, predictions, labels, params, mode)
        train_op = optimizer.minimize(loss) if mode == ModeKeys.TRAIN else None
        return EstimatorSpec(mode, predictions, loss, train_op, ops, loss_weight=weight)

    return model_fn


def _summary_step() -> bool:
    return getattr(current_frame().owner, "summary_step", True)


def _described(optimizer_fn: Matched, params: HParams) -> optimizers.Optimizer:
    place = where(optimizer_fn.function)
    try:
        described = optimizer_fn({"params": params}, settings(params, "optimizer"))
    except (TypeError, ValueError) as error:
        if "optimizer" not in str(error):
            raise
        raise DefinitionError(
            f"{place}: {error}. What it is given are the hyperparameters, not the model's "
            "parameters. Return dovetail.optimizers.SGD(0.1), say, or a function of the model's "
            "parameters: lambda parameters: torch.optim.SGD(parameters, lr=0.1)."
        ) from error
    try:
        return optimizers.as_description(described)
    except DefinitionError as error:
        raise DefinitionError(f"{place}: {error}") from None


def _make_model(module: ModuleType, params: HParams) -> nn.Module:
    model = module.model
    if isinstance(model, nn.Module):
        return model
    made = Matched(model, PARTS["model"].offered, what="model")(
        {"params": params}, settings(params, "model")
    )
    if not isinstance(made, nn.Module):
        is_class = isinstance(made, type)
        what = f"the class {made.__name__}" if is_class else a_kind(made)
        cure = f" Call it: {made.__name__}(...)." if is_class else ""
        raise DefinitionError(
            f"model: {where(model)} returned {what}; it must return a torch or Keras model.{cure}"
        )
    held_here_alone = nn.Identity()  # how Python counts what a variable holds differs by version
    if not isinstance(model, type) and sys.getrefcount(made) > sys.getrefcount(held_here_alone):
        # Somebody else holds it too, a module that the file imports as a rule: training must not
        # change what is theirs.
        made = copied(made) if is_keras_layer(made) else copy.deepcopy(made)
    return made


def _as_predictions(output: Any) -> dict[str, Tensor]:
    if isinstance(output, Tensor):
        return {"output": output}
    if isinstance(output, Mapping):
        predictions = dict(output)
    elif isinstance(output, (list, tuple)):
        names = getattr(output, "_fields", None) or [f"output_{i}" for i in range(len(output))]
        predictions = dict(zip(names, output, strict=True))
    else:
        raise DefinitionError(f"model returned {a_kind(output)}; {_OUTPUTS}")
    for name, value in predictions.items():
        if not isinstance(value, Tensor):
            raise DefinitionError(
                f"model returned {a_kind(output)} whose {name!r} is {a_kind(value)}; {_OUTPUTS}"
            )
    if not predictions:
        raise DefinitionError(f"model returned an empty {type(output).__name__}; {_OUTPUTS}")
    return predictions


_OUTPUTS = "it must return a tensor, a dict of tensors, or a tuple of tensors."

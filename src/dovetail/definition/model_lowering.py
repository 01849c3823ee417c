"""The parts of a model file, lowered to one model_fn."""

from __future__ import annotations

import copy
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
from dovetail.errors import DefinitionError
from dovetail.layers.keras_copying import copied
from dovetail.layers.keras_objects import is_keras_layer
from dovetail.layers.layer import layer
from dovetail.layers.regularizers import regularization_loss
from dovetail.layers.store import current_frame


@dataclass(frozen=True)
class Part:
    """How one part of a file is called: the arguments on offer, and how many go by position."""

    offered: tuple[str, ...]
    positional: int = 0


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
    "process": Part(("predictions", "worker_id"), 2),
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
    described = optimizer_fn({"params": params}, settings(params, "optimizer"))
    try:
        optimizer = optimizers.as_description(described)
    except DefinitionError as error:
        raise DefinitionError(f"{where(optimizer_fn.function)}: {error}") from None

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


def _make_model(module: ModuleType, params: HParams) -> nn.Module:
    model = module.model
    if isinstance(model, nn.Module):
        return model
    made = Matched(model, PARTS["model"].offered, what="model")(
        {"params": params}, settings(params, "model")
    )
    if not isinstance(made, nn.Module):
        raise DefinitionError(
            f"model: {where(model)} returned a {type(made).__name__}; it must return a torch "
            "module."
        )
    return made


def _as_predictions(output: Any) -> dict[str, Tensor]:
    if isinstance(output, Tensor):
        return {"output": output}
    if isinstance(output, Mapping):
        return dict(output)
    if isinstance(output, (list, tuple)):
        return {f"output_{i}": item for i, item in enumerate(output)}
    raise DefinitionError(
        f"model returned a {type(output).__name__}; it must return a tensor, a dict of tensors, or "
        "a tuple of tensors."
    )

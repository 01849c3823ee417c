"""Modelers lowered to the one contract: a model_fn of (features, labels, mode, params)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dovetail.definition.definition import Definition, ModelFn
from dovetail.definition.hparams import HParams
from dovetail.definition.metrics import MetricOp
from dovetail.definition.modeler import Modeler
from dovetail.definition.modeler_config import in_mode, values_of, with_values
from dovetail.definition.modes import ModeKeys
from dovetail.definition.spec import EstimatorSpec
from dovetail.errors import DefinitionError, a_kind
from dovetail.layers.store import current_frame

_PLAIN = (bool, int, float, str, type(None))


def from_modeler(modeler: Modeler) -> Definition:
    """Return the definition that a modeler is. See `dovetail.load`."""
    return Definition(
        name=type(modeler).__name__,
        way="modeler",
        params=HParams(**settable(modeler)),
        fresh=lambda params: lowered(modeler, params),
        declares_params=True,
    )


def settable(modeler: Modeler) -> dict[str, Any]:
    """Return the values of a modeler's config that params can hold: plain ones, and lists.

    An empty list is None, which takes text with commas from the command line too.
    """
    return {
        name: (list(value) or None) if isinstance(value, tuple) else value
        for name, value in values_of(modeler.config).items()
        if isinstance(value, _PLAIN) or (isinstance(value, tuple) and _all_plain(value))
    }


def lowered(modeler: Modeler, params: HParams) -> ModelFn:
    """Make the model_fn of one program.

    Args:
      modeler: is left as it is; the program has copies of its own, one for each mode.
      params: replace the config's values.
    """
    own = settable(modeler)
    values = {name: params[name] for name in own if name in params}
    changed = {name: value for name, value in values.items() if value != own[name]}
    # The run decides on the mode, so what is only for training may be given in any.
    config = with_values(in_mode(modeler.config, ModeKeys.TRAIN), changed)
    copies = {str(mode): _copy(modeler, in_mode(config, str(mode))) for mode in ModeKeys}

    def model_fn(features: Any, labels: Any, mode: Any, params: Any, config: Any) -> EstimatorSpec:
        modeler = copies[mode]
        if not torch.compiler.is_compiling():  # the first call never is
            modeler.epoch = getattr(current_frame().owner, "epoch", modeler.epoch)
        return _spec(modeler, _as_given(features), labels, mode)

    return model_fn


def _copy(modeler: Modeler, config: Any) -> Modeler:
    own = copy.copy(modeler)
    own.config, own.lowered, own._kept = config, True, {}
    if "model_fn" in own._given:
        own.model_fn = own._given_model_fn  # bound to the copy
    return own


def _as_given(features: Any) -> Any:
    """Return the tensor of a dict of one entry, as a modeler's inputs are."""
    if isinstance(features, dict) and len(features) == 1:
        return next(iter(features.values()))
    return features


def _spec(modeler: Modeler, features: Any, labels: Any, mode: Any) -> EstimatorSpec:
    operators = modeler.model_fn((features, labels))
    name = type(modeler).__name__
    if not isinstance(operators, Mapping):
        raise DefinitionError(
            f"{name}.model_fn returned {a_kind(operators)}; it must return a dict of "
            "operators by name."
        )
    if mode == ModeKeys.PREDICT:
        return EstimatorSpec(mode, predictions=operators)
    needed = ("loss", "grads") if mode == ModeKeys.TRAIN else ("loss",)
    for key in needed:
        if key not in operators:
            raise DefinitionError(
                f"{name}.model_fn gave {', '.join(operators) or 'nothing'} for mode '{mode}'; it "
                f"must give '{key}' too."
            )
    metrics: dict[str, Any] = {}
    for key, value in operators.items():
        if key in ("loss", "grads", "loss_weight"):
            continue
        if isinstance(value, (MetricOp, Tensor)):
            metrics[key] = value
        elif not (isinstance(value, (int, float)) or value is None or callable(value)):
            raise DefinitionError(
                f"{name}.model_fn gave '{key}', {a_kind(value)}; beside loss and grads it "
                "gives metrics and tensors, shown by name, and the learning rate."
            )
    train_op = None
    if mode == ModeKeys.TRAIN:
        if not torch.compiler.is_compiling():
            modeler.check_used()
        train_op = modeler.optimizer.apply_gradients(operators["grads"])
    return EstimatorSpec(
        mode,
        loss=operators["loss"],
        train_op=train_op,
        eval_metric_ops=metrics or None,
        loss_weight=operators.get("loss_weight"),
    )


def _all_plain(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, _PLAIN) for value in values)

"""What a model_fn returns: everything the program needs to know of one call."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dovetail.definition.metrics import MetricOp
from dovetail.definition.modes import ModeKeys
from dovetail.definition.optimizers import TrainOp, is_keras
from dovetail.errors import DefinitionError, a_kind

_MODES = tuple(map(str, ModeKeys))
HostCall = tuple[Callable[..., Any], list[Tensor]] | Mapping[str, MetricOp]


@dataclass(frozen=True, eq=False)
class EstimatorSpec:
    """The result of `model_fn(features, labels, mode, params)`, checked when it is built.

    Args:
      mode: the mode that model_fn was called with.
      predictions: a tensor or a dict of tensors, batch first. Needed in PREDICT mode.
      loss: a scalar, shape [] or [1]. Needed in TRAIN and EVAL mode.
      train_op: what `optimizer.minimize(loss)` gives, or an ordered dict of such. Needed in TRAIN.
      eval_metric_ops: name -> what a function of `dovetail.metrics` gives, or a tensor (one value
        per example, or a scalar that is taken as a mean over the batch).
      host_call: `(function, [tensors])`: the function gets the tensors of one step on the CPU and
        returns a dict as eval_metric_ops has; or a dict of metrics.
      export_outputs: name -> a tensor or a dict of tensors: the signatures of the exported model.
      loss_weight: what this batch's loss counts for when losses of several batches or parts are
        put together. None: the number of examples, for a mean over them; a number or a scalar
        tensor, as the number of tokens for a mean over tokens; "sum" where losses add up.

    Raises:
      DefinitionError: something that this mode needs is missing, or of the wrong type.

    Example:
      >>> import torch
      >>> EstimatorSpec(mode="infer", predictions={"output": torch.zeros(2, 3)}).mode
      'infer'
    """

    mode: str
    predictions: Tensor | Mapping[str, Tensor] | None = None
    loss: Tensor | None = None
    train_op: TrainOp | Mapping[str, TrainOp] | None = None
    eval_metric_ops: Mapping[str, MetricOp | Tensor] | None = None
    host_call: HostCall | None = None
    export_outputs: Mapping[str, Any] | None = None
    loss_weight: Tensor | float | str | None = None

    def __post_init__(self) -> None:
        if torch.compiler.is_compiling():
            return  # the first call is never compiled, and has been checked
        if self.mode not in _MODES:
            raise DefinitionError(
                f"EstimatorSpec(mode={self.mode!r}): mode must be one of "
                f"{', '.join(map(repr, map(str, ModeKeys)))}; pass on the mode that model_fn got."
            )
        _check_needed(self)
        _check_types(self)


CSEstimatorSpec = EstimatorSpec
"""The same class under the name that the params-file flow uses."""


def _check_needed(spec: EstimatorSpec) -> None:
    if spec.mode == ModeKeys.PREDICT:
        if spec.predictions is None:
            raise DefinitionError(
                "EstimatorSpec has no predictions, which PREDICT mode needs: return "
                "EstimatorSpec(mode, predictions={'output': ...}) before labels are used."
            )
        return
    if spec.loss is None:
        raise DefinitionError(
            f"EstimatorSpec has no loss, which {ModeKeys(spec.mode).name} mode needs: "
            "return EstimatorSpec(mode, loss=loss, ...)."
        )
    if spec.mode == ModeKeys.TRAIN and spec.train_op is None:
        raise DefinitionError(
            "EstimatorSpec has no train_op, which TRAIN mode needs: pass "
            "train_op=dovetail.optimizers.Adam(learning_rate=...).minimize(loss)."
        )


def _check_types(spec: EstimatorSpec) -> None:
    if spec.loss is not None:
        if not isinstance(spec.loss, Tensor):
            raise DefinitionError(
                f"EstimatorSpec: loss must be a tensor; it is {a_kind(spec.loss)}. Keep "
                "the loss a tensor: .item() and float() would cut it off from the gradient."
            )
        if spec.loss.numel() != 1 or spec.loss.dim() > 1:
            raise DefinitionError(
                f"EstimatorSpec: loss must be a scalar; its shape is {list(spec.loss.shape)}. "
                "Take its mean (or its sum, with loss_weight='sum')."
            )
    # This runs at every step, and to ask the abstract Mapping takes long: so it is asked last.
    ops = spec.train_op
    if isinstance(ops, TrainOp) or not isinstance(ops, Mapping):
        if ops is not None:
            _check_train_op(ops, "train_op")
    elif not ops:
        raise DefinitionError("EstimatorSpec: train_op is an empty dict.")
    else:
        for name, op in ops.items():
            if name == "average":
                raise DefinitionError(
                    "EstimatorSpec: a train_op can't be named 'average', under which checkpoints "
                    "keep averages of the parameters. Give it another name."
                )
            _check_train_op(op, f"train_op['{name}']")
    _check_tensors(spec.predictions, "predictions")
    if spec.eval_metric_ops is not None:
        if spec.host_call is not None:
            raise DefinitionError(
                "EstimatorSpec got both eval_metric_ops and host_call; give metrics in one of "
                "them: eval_metric_ops for metrics, host_call for a function that runs on the CPU."
            )
        if not isinstance(spec.eval_metric_ops, (dict, Mapping)):
            raise DefinitionError(
                "EstimatorSpec: eval_metric_ops must be a dict of name -> metric; it is "
                f"{a_kind(spec.eval_metric_ops)}."
            )
        for name, op in spec.eval_metric_ops.items():
            _check_metric(name, op, "eval_metric_ops")
    if spec.host_call is not None:
        _check_host_call(spec.host_call)
    if spec.loss_weight is not None:
        _check_loss_weight(spec.loss_weight)
    _check_export_outputs(spec.export_outputs)


def _check_export_outputs(outputs: object) -> None:
    if outputs is None:
        return
    if not isinstance(outputs, Mapping):
        raise DefinitionError(
            "EstimatorSpec: export_outputs must be a dict of signature name -> dict of tensors; "
            f"it is {a_kind(outputs)}."
        )
    for name, value in outputs.items():
        if value is None:
            raise DefinitionError(
                f"EstimatorSpec: export_outputs['{name}'] is None; it must be a tensor or a dict "
                "of tensors."
            )
        _check_tensors(value, f"export_outputs['{name}']")


def _check_loss_weight(weight: object) -> None:
    if isinstance(weight, Tensor):
        if weight.numel() != 1:
            raise DefinitionError(
                f"EstimatorSpec: loss_weight must be a scalar; its shape is {list(weight.shape)}."
            )
        return
    number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if weight == "sum" or (number and 0 < weight < math.inf):  # pyright: ignore[reportOperatorIssue]
        return
    raise DefinitionError(
        f"EstimatorSpec: loss_weight={weight!r}: it must be a number above 0, a scalar tensor, "
        "'sum', or None for the number of examples."
    )


def _check_train_op(op: object, what: str) -> None:
    if isinstance(op, TrainOp):
        if op.loss is not None and (op.loss.numel() != 1 or op.loss.dim() > 1):
            raise DefinitionError(
                f"EstimatorSpec: the loss given to minimize for {what} must be a scalar; its shape "
                f"is {list(op.loss.shape)}. Take its mean (or its sum, with loss_weight='sum')."
            )
        return
    if isinstance(op, torch.optim.Optimizer):
        raise DefinitionError(
            f"EstimatorSpec: {what} is {a_kind(op)} made inside model_fn: it would be new "
            f"at every step and forget its state. Describe it instead: "
            f"dovetail.optimizers.{_our_name(op)}(learning_rate=...).minimize(loss), or "
            "dovetail.optimizers.Custom(lambda parameters: ...).minimize(loss) for any other."
        )
    cure = " Write dovetail.optimizers.as_description(optimizer).minimize(loss)."
    raise DefinitionError(
        f"EstimatorSpec: {what} must be what optimizer.minimize(loss) or "
        f"optimizer.apply_gradients(grads) returns; it is {a_kind(op)}."
        f"{cure if is_keras(op) else ''}"
    )


def _our_name(optimizer: torch.optim.Optimizer) -> str:
    name = type(optimizer).__name__
    return {"RMSprop": "RMSProp"}.get(name, name)


def _check_tensors(value: object, what: str) -> None:
    if value is None or isinstance(value, Tensor):
        return
    if not isinstance(value, (dict, Mapping)):
        raise DefinitionError(
            f"EstimatorSpec: {what} must be a tensor or a dict of tensors; it is {a_kind(value)}."
        )
    if not value:
        raise DefinitionError(f"EstimatorSpec: {what} is an empty dict.")
    for name, item in value.items():
        if not isinstance(item, Tensor):
            raise DefinitionError(
                f"EstimatorSpec: {what}['{name}'] must be a tensor; it is {a_kind(item)}."
            )


def _check_metric(name: str, op: object, what: str) -> None:
    if name in ("loss", "global_step"):
        raise DefinitionError(
            f"EstimatorSpec: {what} has '{name}', which every evaluation shows of its own. Give "
            "this metric another name."
        )
    if not isinstance(op, (MetricOp, Tensor)):
        methods = (("update", "compute"), ("update_state", "result"))
        hint = (
            " An object made here would be new at every batch: write "
            "dovetail.metrics.measure(TheClass, predictions, labels, ...)."
            if any(hasattr(op, one) and hasattr(op, other) for one, other in methods)
            else ""
        )
        raise DefinitionError(
            f"EstimatorSpec: {what}['{name}'] must be a metric of dovetail.metrics or a tensor; it "
            f"is {a_kind(op)}.{hint}"
        )


def _check_host_call(host_call: object) -> None:
    if isinstance(host_call, Mapping):
        for name, op in host_call.items():
            _check_metric(name, op, "host_call")
        return
    if (
        not isinstance(host_call, tuple)
        or len(host_call) != 2
        or not callable(host_call[0])
        or not isinstance(host_call[1], (list, tuple))
        or not all(isinstance(t, Tensor) for t in host_call[1])
    ):
        raise DefinitionError(
            "EstimatorSpec: host_call must be (function, [tensors]) or a dict of metrics; it is "
            f"{type(host_call).__name__}."
        )

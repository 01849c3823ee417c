"""Making a definition live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from dovetail.definition.definition import Definition, load
from dovetail.definition.modeler import Modeler
from dovetail.definition.modes import ModeKeys
from dovetail.program.devices import choose_device
from dovetail.program.program import Execution, Precision, Program


def build(
    definition: str | Path | ModuleType | Callable[..., Any] | Modeler | Definition,
    *,
    params: Mapping[str, Any] | None = None,
    example: Any = None,
    device: str | torch.device = "auto",
    seed: int = 0,
    precision: Precision = "fp32",
    loss_scale: float | None = None,
    execution: Execution = "auto",
    config: Any = None,
    ema_decay: float | None = None,
    freeze: Sequence[str] = (),
    recompute: Sequence[str] = (),
) -> Program:
    """Make a definition live.

    Args:
      definition: whatever `dovetail.load` takes.
      params: values that replace the definition's own.
      example: a batch `(features, labels)`, or a `Schema` (a batch of zeros of its fields, the
        fields named label or labels as labels), to make the layers from; None leaves that to the
        first step. From features alone the program is made to predict, not to train; where
        training needs no labels give `(features, None)`.
      device: "auto", or a torch device.
      seed: initial weights and all randomness of steps are derived from it.
      precision: "bf16" and "fp16" run the forward pass under autocast; parameters stay float32.
        With "fp16" the loss is scaled, and a step whose gradients are not finite is skipped.
      loss_scale: of "fp16", the same at every step; None: it adapts.
      execution: "compiled" runs steps through torch.compile; "auto" is eager.
      config: what model_fn gets as `config`.
      ema_decay: keep averages of the parameters, which evaluation and prediction use.
      freeze: patterns of names of parameters that are not trained, such as "encoder.*".
      recompute: patterns of names of modules whose activations are computed anew in the backward
        pass, which takes less memory.

    Returns:
      A `Program`.

    Raises:
      DefinitionError: the definition can't be built; the message says which part and why.

    Example:
      >>> import torch
      >>> import dovetail
      >>> def model_fn(features, labels, mode, params):
      ...     output = dovetail.layers.fully_connected(features, 1, activation_fn=None)
      ...     loss = torch.mean((output - labels) ** 2)
      ...     train_op = dovetail.optimizers.SGD(0.1).minimize(loss)
      ...     return dovetail.EstimatorSpec(mode, output, loss, train_op)
      >>> program = dovetail.build(model_fn, device="cpu")
      >>> x, y = torch.ones(4, 2), torch.ones(4, 1)
      >>> losses = [float(program.train_step(x, y)["loss"]) for _ in range(20)]
      >>> losses[-1] < losses[0], program.global_step
      (True, 20)
    """
    program = Program(
        load(definition, params),
        device=choose_device(device),
        seed=seed,
        precision=precision,
        loss_scale=loss_scale,
        execution=execution,
        config=config,
        ema_decay=ema_decay,
        freeze=freeze,
        recompute=recompute,
    )
    if example is not None:
        features, labels = _example(example)
        trains = labels is not None or isinstance(example, tuple)
        program.build(features, labels, ModeKeys.TRAIN if trains else ModeKeys.PREDICT)
    return program


def _example(example: Any) -> tuple[Any, Any]:
    from dovetail.data.feed import split_labels
    from dovetail.data.schema import Schema

    if isinstance(example, Schema):
        return split_labels(example.example(2))
    if isinstance(example, tuple) and len(example) == 2:
        return example
    return example, None

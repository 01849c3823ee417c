"""What a run's first step would do, before the run: shapes and contracts, or compiling.

Nothing is saved and no model_dir is made: the program that steps here is thrown away.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dovetail.definition.modes import ModeKeys
from dovetail.errors import DataError, ParamsError
from dovetail.program.devices import choose_device
from dovetail.program.program import Program
from dovetail.program.randomness import kept_generators, seeded
from dovetail.run import checkpoint, saving
from dovetail.run.batch_errors import explained
from dovetail.run.inputs import open_input
from dovetail.run.resolve import Resolved


@dataclass(frozen=True)
class Rehearsed:
    """How one mode's first batch went.

    Attributes:
      mode: of `ModeKeys`.
      examples: in the batch.
      shapes: what the step took and gave, by name: `features`, `labels`, `predictions`, ...
      loss: of the batch; None in PREDICT.
      parameters: how many the definition has.
      seconds: of the pass, compiling included where it was asked for.
    """

    mode: str
    examples: int
    shapes: dict[str, str]
    loss: float | None
    parameters: int
    seconds: float


def rehearse(
    resolved: Resolved,
    input_fns: Sequence[tuple[str, Callable[..., Any]]],
    *,
    compiled: bool = False,
) -> list[Rehearsed]:
    """Take the first batch of each mode through the definition, as a run would.

    TRAIN takes a forward and a backward pass and an update, EVAL and PREDICT a forward pass. Where
    model_dir holds a checkpoint, it must fit.

    Args:
      resolved: the definition and how it is run.
      input_fns: mode -> what gives its batches, TRAIN first.
      compiled: compile the passes for the device, whatever `execution` is by default.

    Raises:
      DataError, DefinitionError, CheckpointError: as the run would before or at its first step.
      ParamsError: the run is to be eager, and compiling is asked for.

    Example:
      >>> import torch, dovetail
      >>> from dovetail.run.resolve import resolve
      >>> def model_fn(features, labels, mode):
      ...     output = dovetail.layers.fully_connected(features, 1, activation_fn=None)
      ...     loss = torch.mean((output - labels) ** 2)
      ...     return dovetail.EstimatorSpec(
      ...         mode, output, loss, dovetail.optimizers.SGD(0.1).minimize(loss)
      ...     )
      >>> def input_fn():
      ...     return [(torch.zeros(8, 3), torch.zeros(8, 1))]
      >>> (done,) = rehearse(resolve(dovetail.load(model_fn)), [("train", input_fn)])
      >>> done.examples, done.loss, done.parameters, done.shapes["features"]
      (8, 0.0, 4, '[8, 3] float32')
    """
    config = resolved.config
    if compiled and config.execution == "eager":
        raise ParamsError(
            "Compiling is asked for, but execution is 'eager' "
            f"({resolved.origins.get('runconfig.execution')}). Leave one of the two out."
        )
    program = Program(
        resolved.definition,
        device=choose_device(config.device),
        seed=config.seed,
        precision=config.precision,
        loss_scale=config.loss_scale,
        execution="compiled" if compiled else config.execution,
        config=config,
        ema_decay=config.ema_decay,
        freeze=config.freeze,
        recompute=config.recompute,
    )
    with kept_generators():
        done = [_one(program, resolved, mode, source, compiled) for mode, source in input_fns]
        _fit_checkpoint(program, config.model_dir)
    return done


def _one(program: Program, resolved: Resolved, mode: str, source: Any, compiled: bool) -> Rehearsed:
    training = mode == ModeKeys.TRAIN
    with contextlib.ExitStack() as stack:
        with seeded(program.seed):
            opened = open_input(
                source,
                resolved.definition,
                mode,
                params=resolved.definition.params.copy(),
                config=resolved.config,
                batch_size=resolved.batch_size if training else resolved.eval_batch_size,
                seed=program.seed,
                prefetch=0,
            )
            batches = stack.enter_context(contextlib.closing(opened.batches(0)))
            fed = next(batches, None)
        if fed is None:
            raise DataError(f"{opened.name} gave no batch, so there is nothing to look at.")

        def step() -> dict[str, Any]:
            if training:
                return program.train_step(fed.features, fed.labels, parts=resolved.config.parts)
            if mode == ModeKeys.EVAL:
                return program.eval_step(fed.features, fed.labels)
            return program.predict_step(fed.features)

        with explained(f"the first batch in {ModeKeys(mode).name} mode", opened, fed):
            started = time.monotonic()
            output = step()
            if compiled and not training:
                step()  # the first call of a mode reads what is static, and is never compiled
            loss = float(output["loss"]) if mode != ModeKeys.PREDICT else None
    shapes = {"features": fed.features, "labels": fed.labels}
    shapes["predictions"] = output.get("predictions")
    return Rehearsed(
        mode,
        fed.count,
        {name: shown for name, value in shapes.items() for name, shown in _shapes(name, value)},
        loss,
        sum(parameter.numel() for parameter in program.network.parameters()),
        time.monotonic() - started,
    )


def _fit_checkpoint(program: Program, model_dir: str | None) -> None:
    """Put the newest checkpoint's state into the program, as a run would."""
    newest = checkpoint.latest_good_path(model_dir) if model_dir is not None else None
    if newest is not None:
        trained = program.built_in == ModeKeys.TRAIN
        saving.restore(program, checkpoint.load(newest), weights_only=not trained)


def _shapes(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return [(name, f"[{', '.join(map(str, value.shape))}] {dtype}")]
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _shapes(f"{name}.{key}", item)]
    return []

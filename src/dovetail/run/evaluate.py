"""Evaluation: exact metrics over a whole input, whatever the sizes of its batches."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dovetail.data.feed import Fed
from dovetail.definition.metrics import MetricSet
from dovetail.definition.modes import ModeKeys
from dovetail.errors import DataError
from dovetail.program.batches import mapped
from dovetail.program.program import Program
from dovetail.program.randomness import kept_generators
from dovetail.run import saving
from dovetail.run.batch_errors import explained
from dovetail.run.checkpoint import Checkpoint
from dovetail.run.hooks import Hook, Hooks, Run
from dovetail.run.inputs import Input
from dovetail.run.measures import HostCall, MeanLoss
from dovetail.run.seeded_input import GENERATORS_IN_USE
from dovetail.run.summaries import SummaryWriter


def evaluate(
    program: Program,
    source: Input,
    *,
    steps: int | None = None,
    restored: Checkpoint | None = None,
    event_dir: Path | None = None,
    model_dir: Path | None = None,
    hooks: Sequence[Hook] = (),
) -> dict[str, Any]:
    """Evaluate a program on an input, and leave its modes and all generators as they were.

    Where the program has averages of its parameters, these are evaluated.

    Args:
      program: built or not.
      source: the batches, from their beginning.
      steps: how many batches; None: all.
      restored: the checkpoint to evaluate; None: the program's state as it is.
      event_dir: where the metrics are written to the event log.
      model_dir: what hooks see as the run's.
      hooks: called at each batch; their run's step is the checkpoint's.

    Returns:
      metric -> value, with `loss` and `global_step`.

    Raises:
      DataError: the input has no batch.
      CheckpointError: the checkpoint is of another definition.
    """
    metrics: MetricSet | None = None
    host: HostCall | None = None
    loss = MeanLoss(program.device)
    done = 0
    run, told = Run(program, model_dir or Path()), Hooks(hooks)
    with contextlib.ExitStack() as stack:
        stack.enter_context(as_before(program))
        batches = stack.enter_context(contextlib.closing(_batches(source)))
        for fed in batches:
            if done == 0:
                if not program.built:
                    mode = ModeKeys.TRAIN if fed.labels is not None else ModeKeys.EVAL
                    batch = _at_least_two(fed.features), _at_least_two(fed.labels)
                    with explained("evaluation", source, fed):
                        program.build(*batch, mode)
                if restored is not None:
                    saving.restore(program, restored, weights_only=True)
                stack.enter_context(program.averaged())
                run.step = program.global_step
                told.begin(run)
            told.before_step(run)
            with explained("evaluation", source, fed):
                output = program.eval_step(fed.features, fed.labels, batch=done)
            statics = program.statics(ModeKeys.EVAL)
            if metrics is None or host is None:
                metrics, host = MetricSet(statics.metrics), HostCall(statics)
            metrics.update(output.get("metrics", {}), weight=fed.count)
            host.update(output, fed.count)
            loss.update(output, statics.loss_weight, fed.count)
            done += 1
            told.after_step(run, output)
            if run.stopping or (steps is not None and done >= steps):
                break
        if done:
            told.end(run)
    if metrics is None or host is None:
        raise DataError(f"{source.name} gave no batch, so there is nothing to evaluate.")
    values = {**metrics.compute(), **host.compute(), "loss": loss.compute()}
    values["global_step"] = program.global_step
    if event_dir is not None:
        with SummaryWriter(event_dir, replace_step=program.global_step) as writer:
            writer.scalars(scalars(values), program.global_step)
    return values


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return those metrics that are a curve's points: numbers, but for the step itself."""
    return {name: value for name, value in metrics.items() if isinstance(value, float)}


def _batches(source: Input) -> Generator[Fed]:
    """Yield an input's batches; those of a user's own code are made while no other input is."""
    with contextlib.closing(source.batches(0)) as batches:
        while True:
            with contextlib.nullcontext() if source.positioned else GENERATORS_IN_USE:
                fed = next(batches, None)
            if fed is None:
                return
            yield fed


@contextlib.contextmanager
def as_before(program: Program) -> Iterator[None]:
    """Put generators, and the modes of a program that is built, back on leaving a `with` block."""
    network, device = program.network, program.device
    mode = network.mode
    training = [(module, module.training) for module in network.modules()] if program.built else []
    kept = contextlib.ExitStack()
    with GENERATORS_IN_USE:
        kept.enter_context(kept_generators())
        kept.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
    try:
        yield
    finally:
        with GENERATORS_IN_USE:
            kept.close()
        if training:
            network.mode = mode
            for module, was in training:
                module.training = was


def _at_least_two(batch: Any) -> Any:
    """Repeat a single example: built in TRAIN mode, torch's batch norm refuses a batch of one."""
    return mapped(batch, lambda t: t.repeat_interleave(2, 0) if t.shape[:1] == (1,) else t)

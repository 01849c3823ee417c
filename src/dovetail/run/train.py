"""Training: one function, in the order in which things happen."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dovetail.errors import DataError, NanLossError
from dovetail.program.batches import cut
from dovetail.program.program import Program
from dovetail.program.randomness import kept_generators, seeded
from dovetail.run import checkpoint, saving, signals
from dovetail.run.batch_errors import explained
from dovetail.run.config import RunConfig
from dovetail.run.hooks import Hook, Hooks, Run, SavingListener, tell
from dovetail.run.inputs import Input
from dovetail.run.loss_watch import LossWatch
from dovetail.run.measures import measured, write_summaries
from dovetail.run.progress import Progress
from dovetail.run.summaries import SummaryWriter


@dataclass(frozen=True)
class Trained:
    """How a call of `train` ended.

    Attributes:
      step: the number of finished steps, those of earlier calls included.
      steps: how many of them this call took.
      position: examples consumed since the beginning of the run.
      loss: of the last step; nan if none was taken.
      checkpoint: the last one saved.
      why: "max_steps", "input ended", "hook", "signal" or "nothing to do".
    """

    step: int
    steps: int
    position: int
    loss: float
    checkpoint: Path | None
    why: str


def train(
    program: Program,
    open_source: Callable[[], Input],
    *,
    model_dir: Path,
    config: RunConfig,
    steps: int | None = None,
    last_step: int | None = None,
    hooks: Sequence[Hook] = (),
    listeners: Sequence[SavingListener] = (),
    live: Path | None = None,
    begun: Callable[[Input, int], object] | None = None,
) -> Trained:
    """Train a program until `last_step` or the input's end, going on from the last checkpoint.

    Args:
      program: built or not; its state is that of checkpoint `live`, if that is given.
      open_source: gives the batches; it is not called where there is nothing to do.
      model_dir: holds checkpoints and event logs; the newest good checkpoint is gone on from.
      config: when to save, log and show.
      steps: how many steps to take at most.
      last_step: the global step to end at. Without either: where the input ends.
      hooks: called at each step.
      listeners: told of each checkpoint.
      live: the checkpoint whose state the program has already, so that it need not be read.
      begun: called once, with the input and the step gone on from, if there is a step to take.

    Raises:
      NanLossError: the loss is not finite; the last good checkpoint is kept.
      DataError: the input has no batch, or a batch is wrong.
      KeyboardInterrupt, SystemExit: a signal came; the step was finished and its state saved.
    """
    progress = Progress(None if config.progress else False, every=config.log_step_count_steps)
    newest = checkpoint.latest(model_dir)
    restored = None
    if newest is not None and newest != live:
        restored = checkpoint.latest_good(model_dir, progress.note)
        newest = restored.path if restored is not None else None
    step, position = _standing(program, newest, restored)
    if steps is not None:
        last_step = step + steps
    if last_step is not None and step >= last_step:
        return Trained(step, 0, position, math.nan, newest, "nothing to do")
    first_step = step
    run, told = Run(program, model_dir, step, config), Hooks(hooks)
    loss: Tensor = torch.tensor(math.nan)
    saved_at, saved_time = -1, time.monotonic()
    why = "input ended"

    def save() -> None:
        nonlocal newest, saved_at, saved_time
        watch.check()
        newest = saving.save(program, model_dir)
        saved_at, saved_time = step, time.monotonic()
        checkpoint.prune(model_dir, config.keep_checkpoint_max, current=newest)
        tell(listeners, newest, step)

    with contextlib.ExitStack() as stack:
        stack.enter_context(_failure_told(told, run, lambda: newest))
        stack.enter_context(kept_generators())
        stack.enter_context(_deterministic(config.deterministic))
        stop = stack.enter_context(signals.noticed())
        with seeded(program.seed):
            source = open_source()
            batches = stack.enter_context(contextlib.closing(source.batches(position)))
            fed = next(batches, None)
        if fed is None:
            stop.take_effect()
            if step == 0:
                raise DataError(f"{source.name} gave no batch, so there is nothing to train on.")
            return Trained(step, 0, position, math.nan, newest, "nothing to do")
        if not program.built:
            with explained("building the model", source, fed):
                program.build(*cut(fed.features, fed.labels, config.parts)[0])
        if restored is not None:
            saving.restore(program, restored)
        _note_what_is_not_exact(progress, program, source, step, restored)
        watch = LossWatch(program.device, source.describe, on=config.finite_checks != "off")
        program.before_update = watch.before_update
        stack.callback(setattr, program, "before_update", None)
        if begun is not None:
            begun(source, step)
        writer = stack.enter_context(SummaryWriter(model_dir, start_step=step))
        stack.callback(progress.close)
        progress.start(step, _planned(source, fed.count, step, position, last_step))
        if step == 0 and newest is None:
            save()
        told.begin(run)
        rate_from, rate_examples = time.monotonic(), 0
        while fed is not None:
            told.before_step(run)
            summary = (step + 1) % config.save_summary_steps == 0 or step == 0
            watch.expect(step + 1, position, fed.count)
            with explained(f"training step {step + 1}", source, fed):
                output = program.train_step(
                    fed.features, fed.labels, parts=config.parts, summary=summary
                )
            step, position = step + 1, fed.position_after
            run.step, program.position = step, position
            loss = output["loss"]
            watch.after_update(loss)
            rate_examples += fed.count
            if summary:
                now = time.monotonic()
                scalars = measured(program, output, loss, fed.count)
                scalars["examples_per_sec"] = rate_examples / max(now - rate_from, 1e-9)
                writer.scalars(scalars, step)
                write_summaries(writer, output.get("summaries", {}), step)
                rate_from, rate_examples = now, 0
            progress.step(step, fed.count, loss)
            told.after_step(run, output)
            if last_step is not None and step >= last_step:
                why = "max_steps"
                break
            if run.stopping or stop.signal is not None:
                why = "hook" if run.stopping else "signal"
                break
            if _save_due(config, step, saved_time):
                save()
            try:
                fed = next(batches, None)
            except BaseException:
                if saved_at != step:
                    save()  # the input failed, the state is whole
                raise
        if saved_at != step:
            save()
        told.end(run)
        progress.finish(step, loss)
        stop.take_effect()
    return Trained(step, step - first_step, position, float(loss), newest, why)


def _standing(
    program: Program, newest: Path | None, restored: checkpoint.Checkpoint | None
) -> tuple[int, int]:
    """Return the step and position that the run goes on from."""
    if newest is None:
        return 0, 0
    if restored is None:
        return program.global_step, program.position
    return restored.step, int(restored.state.get("position") or 0)


def _note_what_is_not_exact(
    progress: Progress,
    program: Program,
    source: Input,
    step: int,
    restored: checkpoint.Checkpoint | None,
) -> None:
    """Say what keeps this run from being one that can be, or was, interrupted without a trace."""
    if not source.positioned:
        progress.note(
            f"{source.name} can't be positioned: it starts from its beginning, not from where the "
            f"run stood at step {step}. Train on records for an exact resume."
            if step
            else f"{source.name} can't be positioned: a run that is interrupted and started again "
            "will take it from its beginning. Train on records for an exact resume."
        )
    seed = restored.state.get("seed") if restored is not None else None
    if seed is not None and seed != program.seed:
        progress.note(
            f"The run was trained with seed {seed} up to step {step} and goes on with seed "
            f"{program.seed}: the order of examples and all randomness are those of another run."
        )


def _planned(
    source: Input, batch: int, step: int, position: int, last_step: int | None
) -> int | None:
    """Return the step at which the run will end, as far as that is known."""
    if source.total is None or batch == 0:
        return last_step
    ends = step + math.ceil(max(source.total - position, 0) / batch)
    return ends if last_step is None else min(ends, last_step)


def _save_due(config: RunConfig, step: int, saved_time: float) -> bool:
    if config.save_checkpoints_steps is not None:
        return step % config.save_checkpoints_steps == 0
    assert config.save_checkpoints_secs is not None
    return time.monotonic() - saved_time >= config.save_checkpoints_secs


@contextlib.contextmanager
def _failure_told(told: Hooks, run: Run, newest: Callable[[], Path | None]) -> Iterator[None]:
    """Tell the hooks of an error, and of a loss that is not finite say which state is kept."""
    try:
        yield
    except Exception as error:
        kept = newest()
        if isinstance(error, NanLossError) and kept is not None:
            error.args = (f"{error} The last good checkpoint is {kept}.",)
        told.on_error(run, error)
        raise


@contextlib.contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)

"""Training: one function, in the order in which things happen."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dovetail.data.feed import Fed
from dovetail.errors import NanLossError
from dovetail.program.batches import cut
from dovetail.program.program import Program
from dovetail.run import (
    batch_errors,
    compile_time,
    diagnosis,
    lock,
    retention,
    run_description,
    start,
)
from dovetail.run.config import RunConfig
from dovetail.run.evaluations import Evaluations
from dovetail.run.finite import FiniteChecks
from dovetail.run.goodput import Goodput
from dovetail.run.heartbeat import Heartbeat
from dovetail.run.hooks import Hook, Hooks, Run, SavingListener
from dovetail.run.inputs import Input
from dovetail.run.loss_watch import LossWatch
from dovetail.run.observers import Observers, failure_told, failure_written
from dovetail.run.progress import Progress
from dovetail.run.run_record import FINGERPRINT, RunRecord
from dovetail.run.saver import Saver
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
      why: "max_steps", "input ended", "hook", "signal" or "nothing to do"; or the reason that a
        hook gave.
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
    evaluations: Evaluations | None = None,
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
      evaluations: made after each save but that of step 0, of the state that is saved.
      live: the checkpoint whose state the program has already, so that it need not be read.
      begun: called once, with the input and the step gone on from, if there is a step to take.

    Raises:
      NanLossError: the loss is not finite; the last good checkpoint is kept.
      DataError: the input has no batch, or a batch is wrong.
      ModelDirInUseError: another run writes to model_dir.
      StorageError: the disk is full or fails; what was saved before is whole.
      KeyboardInterrupt, SystemExit: a signal came; the step was finished and its state saved.
    """
    progress = Progress(None if config.progress else False, every=config.log_step_count_steps)
    goodput, told = Goodput(), Hooks(hooks)
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock.held(model_dir, progress.note))
        at = start.standing(program, model_dir, live, progress.note)
        step, position, newest = at.step, at.position, at.newest
        if steps is not None:
            last_step = step + steps
        if last_step is not None and step >= last_step:
            return Trained(step, 0, position, math.nan, newest, "nothing to do")
        retention.forget(model_dir, step + 1)
        run = Run(program, model_dir, step, config, position, goodput=goodput, show=progress.note)
        saver: Saver | None = None
        stack.enter_context(failure_told(told, run, lambda: saver.newest if saver else newest))
        heart = stack.enter_context(Heartbeat(model_dir, config.heartbeat_secs, note=progress.note))
        heart.beat("starting", step, goodput=goodput)
        stop = stack.enter_context(start.own_surroundings(config))
        source, batches, fed = stack.enter_context(
            start.first_batch(program, open_source, at, stop, progress.note)
        )
        if fed is None:
            return Trained(step, 0, position, math.nan, newest, "nothing to do")
        start.put_in_place(program, source, fed, at, config, progress.note)
        start.make_ready(program)
        stack.enter_context(compile_time.counted(goodput))
        record = RunRecord(program, source, config, model_dir, step=step, position=position)
        for text in _not_as_it_was(program, source, at, record):
            progress.note(text)
        if begun is not None:
            begun(source, step)
        record.begin()
        stack.enter_context(record.error_noted(run))
        run.writer = writer = stack.enter_context(
            SummaryWriter(model_dir, start_step=step, note=progress.note)
        )
        stack.enter_context(failure_written(writer, run))
        run_description.describe(writer, program, *cut(fed.features, fed.labels, config.parts)[0])
        watch = LossWatch(program.device, source.describe, on=config.finite_checks == "loss")
        checks = FiniteChecks(program) if config.finite_checks == "all" else None
        if checks is not None:
            stack.enter_context(checks)
        saver = Saver(
            program,
            model_dir,
            config,
            state=lambda: {
                start.INPUT: source.state(position),
                start.DUE: due,
                FINGERPRINT: record.fingerprint,
            },
        )
        stack.enter_context(contextlib.closing(saver))
        saver.newest = newest
        stack.callback(progress.close)
        look = Observers(
            run,
            hooks=told,
            listeners=listeners,
            progress=progress,
            heart=heart,
            goodput=goodput,
            writer=writer,
        )
        saved_at, saved_time = -1 if newest is None else step, time.monotonic()
        due = True
        loss: Tensor = torch.tensor(math.nan)
        why = "input ended"

        def before_update(loss: Tensor) -> None:
            saver.settle()
            watch.before_update(loss)
            if checks is not None:
                checks.before_update(loss)

        def save() -> None:
            nonlocal saved_at, saved_time
            watch.check()
            goodput.switch("checkpoint")
            take_note(saver.wait())  # before this save deletes what is to be exported
            saver.save(step)
            saved_at, saved_time, run.saving = step, time.monotonic(), False
            goodput.switch("hooks")

        def evaluate() -> None:
            if evaluations is not None and step > 0:
                look.evaluating()
                take_results(evaluations.after_save(run, step))

        def take_results(results: Sequence[tuple[str, dict[str, Any]]]) -> None:
            for name, metrics in results:
                retention.report(model_dir, step, metrics, name)
            look.evaluated(results)

        def take_note(saved: Sequence[Path]) -> None:
            nonlocal newest
            newest = saver.newest
            look.saved(saved)
            if evaluations is not None:
                for path in saved:
                    evaluations.after_written(path)

        program.before_update = before_update
        stack.callback(setattr, program, "before_update", None)
        if step == 0 and newest is None:
            save()
        look.begin(_planned(source, fed.count, step, position, last_step))
        if evaluations is not None:
            evaluations.interrupted = lambda: stop.signal is not None
            take_results(evaluations.begin(run, made_up=at.due))
        if run.stopping:
            why = run.why or "hook"
        while fed is not None and not run.stopping:
            look.before_step(fed.features, fed.labels, fed.count)
            watch.expect(step + 1, position, fed.count)
            summary = (step + 1) % config.save_summary_steps == 0 or step == 0
            goodput.switch("step")
            try:
                output = program.train_step(
                    fed.features, fed.labels, parts=config.parts, summary=summary
                )
                loss = output["loss"]
                watch.after_update(loss)
            except Exception as error:
                _explain(error, step + 1, source, fed, program, config, model_dir)
                raise
            goodput.switch("hooks")
            step, position = step + 1, fed.position_after
            run.step, run.position, program.position = step, position, position
            look.after_step(output, loss, summary=summary)
            take_note(saver.saved())
            if last_step is not None and step >= last_step:
                why = "max_steps"
                break
            if run.stopping or stop.signal is not None:
                why = run.why or "hook" if run.stopping else "signal"
                break
            if run.saving or _save_due(config, step, saved_time):
                save()
                evaluate()
                if run.stopping or stop.signal is not None:
                    why = run.why or "hook" if run.stopping else "signal"
                    break
            goodput.switch("data")
            try:
                fed = next(batches, None)
            except BaseException:
                if saved_at != step:
                    due = False
                    save()  # the input failed, the state is whole
                    take_note(saver.wait())
                raise
        if saved_at != step:
            due = why != "signal" or run.saving or _save_due(config, step, saved_time)
            save()
        if why != "signal":
            evaluate()
        goodput.switch("checkpoint")
        take_note(saver.wait())
        record.end(step, position, why, float(loss))
        look.end(why, loss)
        stop.take_effect()
    return Trained(step, step - at.step, position, float(loss), newest, why)


def _explain(
    error: Exception,
    number: int,
    source: Input,
    fed: Fed,
    program: Program,
    config: RunConfig,
    model_dir: Path,
) -> None:
    """Say of an error in a step from which batch it came, and where what is not finite began."""
    batch_errors.explain(error, f"training step {number}", source, fed)
    if isinstance(error, NanLossError):
        diagnosis.explain(
            error,
            program,
            fed.features,
            fed.labels,
            step=number,
            parts=config.parts,
            model_dir=model_dir,
        )


def _not_as_it_was(
    program: Program, source: Input, at: start.Standing, record: RunRecord
) -> Iterator[str]:
    """Say what keeps this run from being one that can be, or was, interrupted without a trace."""
    note = source.note(at.step, at.position)
    if note is not None:
        yield note
    state = at.restored.state if at.restored is not None else None
    yield from record.differences(state)


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

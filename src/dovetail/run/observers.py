"""All that looks on while a run trains: progress, heartbeat, event log, goodput, hooks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from dovetail.errors import DovetailError, NanLossError
from dovetail.run import run_description
from dovetail.run.goodput import Goodput
from dovetail.run.heartbeat import Heartbeat
from dovetail.run.hooks import Hooks, Run, SavingListener, tell
from dovetail.run.measures import measured, write_summaries
from dovetail.run.progress import Progress
from dovetail.run.saving import step_of
from dovetail.run.summaries import SummaryWriter


class Observers:
    """Those who are told what a training does; none of them changes what it computes.

    Args:
      run: what hooks see; its `step` and `position` are kept up by the loop.
      hooks: called at their moments.
      listeners: told of each checkpoint.
      progress: the bar or lines.
      heart: says that the run is alive.
      goodput: where the time goes.
      writer: the event log of the training.
    """

    def __init__(
        self,
        run: Run,
        *,
        hooks: Hooks,
        listeners: Sequence[SavingListener],
        progress: Progress,
        heart: Heartbeat,
        goodput: Goodput,
        writer: SummaryWriter,
    ) -> None:
        self._run = run
        self._hooks = hooks
        self._listeners = listeners
        self._progress = progress
        self._heart = heart
        self._goodput = goodput
        self._writer = writer
        self._rate_from, self._rate_examples = time.monotonic(), 0

    def _learning_rate(self) -> float:
        return self._run.program.learning_rate

    def begin(self, steps_to: int | None) -> None:
        """The first step comes.

        Args:
          steps_to: the step at which the run will end, as far as that is known.
        """
        step = self._run.step
        self._heart.beat("training", step, last_step=steps_to, goodput=self._goodput)
        self._progress.start(step, steps_to)
        self._hooks.begin(self._run)
        self._rate_from = time.monotonic()

    def before_step(self, features: Any, labels: Any, count: int) -> None:
        """A batch is there."""
        run = self._run
        run.features, run.labels, run.count = features, labels, count
        self._hooks.before_step(run)

    def after_step(self, output: dict[str, Any], loss: Tensor, *, summary: bool) -> None:
        """A step is done, and is counted in the run.

        Args:
          output: of the step.
          loss: of the step.
          summary: whether it is one whose metrics and summaries go to the event log.
        """
        run = self._run
        self._rate_examples += run.count
        if summary:
            self._summarize(output, loss)
        self._progress.step(run.step, run.count, loss)
        self._heart.beat(
            "training",
            run.step,
            loss=loss,
            position=run.position,
            learning_rate=self._learning_rate,
        )
        self._hooks.after_step(run, output)

    def saved(self, paths: Sequence[Path]) -> None:
        """Checkpoints are whole on disk."""
        for path in paths:
            step = step_of(path)
            self._progress.saved(step)
            self._heart.saved(step, path)
            tell(self._listeners, path, step)
            self._hooks.after_save(self._run, path)

    def evaluating(self) -> None:
        """Evaluations begin."""
        self._goodput.switch("evaluation")
        self._heart.beat("evaluating", self._run.step)
        self._progress.doing("evaluating")

    def evaluated(self, results: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Evaluations are done; it takes their names and metrics."""
        run = self._run
        for name, metrics in results:
            self._heart.evaluated(name, run.step, metrics)
            self._progress.evaluated(name, run.step, metrics)
            self._hooks.after_evaluate(run, name, metrics)
        self._heart.beat("training", run.step)
        self._goodput.switch("hooks")

    def end(self, why: str, loss: Tensor) -> None:
        """The last checkpoint is on disk."""
        self._run.why = self._run.why or why
        self._hooks.end(self._run)
        if why != "signal":
            run_description.ended(self._writer, self._run.step)
            self._heart.close("done", why)
        self._progress.finish(self._run.step, loss, self._goodput.line())

    def _summarize(self, output: dict[str, Any], loss: Tensor) -> None:
        run, now = self._run, time.monotonic()
        scalars = measured(run.program, output, loss, run.count)
        scalars["examples_per_sec"] = self._rate_examples / max(now - self._rate_from, 1e-9)
        scalars |= self._goodput.scalars()
        self._writer.scalars(scalars, run.step)
        write_summaries(self._writer, output.get("summaries", {}), run.step)
        self._rate_from, self._rate_examples = now, 0


@contextmanager
def failure_told(hooks: Hooks, run: Run, newest: Callable[[], Path | None]) -> Iterator[None]:
    """Tell the hooks of an error inside the `with` block before it goes on.

    Args:
      newest: the last good checkpoint, which an error about the loss is to name.
    """
    try:
        yield
    except Exception as error:
        kept = newest()
        if isinstance(error, NanLossError) and kept is not None:
            error.args = (f"{error} The last good checkpoint is {kept}.{_late(error, run)}",)
        hooks.on_error(run, error)
        raise


def _late(error: NanLossError, run: Run) -> str:
    """Say what to do where the step that went wrong was past when that was seen."""
    if error.step > run.step or (run.config is not None and run.config.finite_checks == "all"):
        return ""
    return (
        f" The batch and the parameters of step {error.step} were gone when this was seen: run "
        "again with finite_checks='all', which goes on from there to the same step, and names what "
        "goes wrong."
    )


@contextmanager
def failure_written(writer: SummaryWriter, run: Run) -> Iterator[None]:
    """Write an error's end of the run to the event log, which is closed when hooks hear of it."""
    try:
        yield
    except Exception:
        with suppress(DovetailError):  # of a full disk, say, which may be the very error
            run_description.ended(writer, run.step, failed=True)
        raise

"""What a person sees of a run: a bar with loss, rate and time left, or plain lines in a log.

Evaluations are lines of their own; the newest checkpoint is said with the next line, or in the bar.

All of it goes to stderr. A step costs a comparison and at most a look at the clock; only when
something is due to be shown is the loss fetched from the device, which waits for the step. No
thread redraws the bar: a training step's time is its own.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_REDRAW_SECONDS = 0.2
_BAR_WINDOW = 15  # redraws: the rate in a bar is that of the last 3 seconds


class Progress:
    """Shows how far a loop is: a bar on a terminal, lines elsewhere.

    Between `start` and `close` the terminal belongs to the bar: call `close` in any case.

    Args:
      shown: False shows notes alone.
      every: in lines, one at each step that is a multiple of this; None or 0 gives only the last.
      label: what is done ("train", "evaluate", ...).
      step_name: what a step is called ("step", "file", ...).
      stream: where to write; stderr by default.
      clock: seconds, never going back.

    >>> progress = Progress(stream=sys.stdout, every=100)
    >>> progress.start(0, total=250)
    >>> for step in range(1, 251):
    ...     progress.step(step, examples=32, loss=0.25)
    train step 100/250  loss 0.25  ... examples/s  ... left
    train step 200/250  loss 0.25  ... examples/s  ... left
    train step 250/250  loss 0.25  ... examples/s
    >>> progress.close()
    """

    def __init__(
        self,
        shown: bool | None = None,
        *,
        every: int | None = 100,
        label: str = "train",
        step_name: str = "step",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label = label
        self.every = every or 0
        self.step_name = step_name
        self.stream = sys.stderr if stream is None else stream
        self.total: int | None = None
        self.mode: Literal["bar", "lines", "off"] = "off"
        if shown is not False:
            self.mode = "bar" if _is_terminal(self.stream) else "lines"
        self._clock = clock
        self._readable = True
        self._bar: RichProgress | None = None
        self._redraw_at = 0.0
        self._shown_step: int | None = None
        self._saved: int | None = None
        self._examples = 0
        # (seconds, step, examples) as last shown: a line tells of the time since the line before,
        # a bar of the last few seconds.
        window = _BAR_WINDOW if self.mode == "bar" else 1
        self._seen: deque[tuple[float, int, int]] = deque(maxlen=window)

    def start(self, step: int, total: int | None = None) -> None:
        """Begin at a step; the bar appears now, so that a long first step shows something.

        Args:
          step: how many steps are done already.
          total: the step at which the loop ends, if known.
        """
        self.total = total
        self._examples = 0
        self._shown_step = None
        self._seen.clear()
        self._seen.append((self._clock(), step, 0))
        if self.mode == "bar":
            self._start_bar(step)

    def step(self, step: int, examples: int = 0, loss: SupportsFloat | None = None) -> None:
        """Count a finished step and show it if that is due.

        Args:
          step: how many steps are done.
          examples: how many examples the step took.
          loss: a number or a tensor, which is read only if it is shown.
        """
        self._examples += examples
        if self.mode == "bar":
            due = self._clock() >= self._redraw_at
        else:
            due = self.every > 0 and step % self.every == 0 and self.mode == "lines"
        if due or step == self.total:
            self._show(step, loss)

    def doing(self, what: str) -> None:
        """Show in the bar what takes long beside the steps ("evaluating"), until the next step."""
        if self._bar is not None and self._seen:
            self._draw(self._seen[-1][1], f"{what} ...")
        self._redraw_at = 0.0

    def saved(self, step: int) -> None:
        """Say, with what is shown next, that the checkpoint of a step is whole on disk."""
        self._saved = step

    def evaluated(self, name: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Print the metrics of an evaluation.

        Args:
          name: of the evaluation; "" where there is one without a name.
          step: of the state that was evaluated.
          metrics: name -> number; what is none is left out.

        Example:
          >>> progress = Progress(stream=sys.stdout)
          >>> progress.evaluated("", 500, {"accuracy": 0.91234, "loss": 0.25, "global_step": 500})
          eval step 500  accuracy 0.9123  loss 0.25
        """
        if self.mode == "off":
            return
        parts = [f"{f'eval {name}'.rstrip()} {self.step_name} {step}"]
        for key, value in metrics.items():
            if isinstance(value, (int, float)) and key != "global_step":
                parts.append(f"{key} {value:.4g}")
        self.note("  ".join(parts))

    def finish(self, step: int, loss: SupportsFloat | None = None, last: str = "") -> None:
        """Show the last step, if it is not shown yet, and close.

        Args:
          step: how many steps are done.
          loss: of the last one.
          last: a line to end with, such as where the time went (`Goodput.line()`).
        """
        if self._shown_step != step or self._bar is not None:
            self._show(step, loss)
        shown = self.mode != "off"
        self.close()
        if last and shown:
            self._print(last)

    def note(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bar is None:
            self._print(text)
            return
        try:
            self._bar.console.print(
                text, markup=False, emoji=False, highlight=False, soft_wrap=True
            )
        except OSError:
            self._give_up()

    def close(self) -> None:
        """Leave the bar as it is and give the terminal back; a second time does nothing."""
        bar, self._bar = self._bar, None
        if bar is not None:
            try:
                bar.stop()
            except OSError:
                self._give_up()

    def _show(self, step: int, loss: SupportsFloat | None) -> None:
        if self.mode == "off":
            return
        parts = [] if loss is None else [f"loss {float(loss):.4g}"]
        now = self._clock()  # after the loss: reading it waits for the device
        self._shown_step = step
        self._redraw_at = now + _REDRAW_SECONDS
        if not self._seen:
            self._seen.append((now, step, self._examples))
        then, old_step, old_examples = self._seen[0]
        self._seen.append((now, step, self._examples))
        seconds, steps = now - then, step - old_step
        if seconds > 0 and steps > 0:
            if self._examples > old_examples:
                parts.append(f"{(self._examples - old_examples) / seconds:,.0f} examples/s")
            else:
                parts.append(f"{steps / seconds:,.4g} {self.step_name}s/s")
            if self.total is not None and step < self.total:
                parts.append(f"{_duration((self.total - step) * seconds / steps)} left")
        if self._saved is not None:
            parts.append(f"saved {self._saved}")
            if self._bar is None:
                self._saved = None  # a line says it once, a bar goes on saying it
        if self._bar is not None:
            self._draw(step, "  ".join(parts))
        else:
            of = "" if self.total is None else f"/{self.total}"
            self._print("  ".join([f"{self.label} {self.step_name} {step}{of}", *parts]))

    def _start_bar(self, step: int) -> None:
        from rich.console import Console
        from rich.errors import LiveError
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        class Quiet(Console):
            def on_broken_pipe(self) -> None:
                raise  # rich would end the process; caught below, the run goes on

        bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[shown]}", markup=False),
            console=Quiet(file=self.stream),
            auto_refresh=False,
            # What the user's code prints appears above the bar, but never leaves a file or pipe.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
        )
        bar.add_task(self.label, total=self.total, completed=step, shown="")
        try:
            bar.start()
            bar.refresh()
        except LiveError:  # another bar has the terminal
            self.mode = "lines"
        except OSError:
            self._give_up()
        else:
            self._bar = bar

    def _draw(self, step: int, text: str) -> None:
        assert self._bar is not None
        (task,) = self._bar.task_ids
        try:
            self._bar.update(task, completed=step, shown=text, refresh=True)
        except OSError:
            self._give_up()

    def _print(self, text: str) -> None:
        if not self._readable:
            return
        try:
            print(text, file=self.stream, flush=True)
        except (OSError, ValueError):  # ValueError: the stream was closed
            self._give_up()

    def _give_up(self) -> None:
        """Nobody can read this any more (a closed terminal, say): the run goes on unseen."""
        self.mode = "off"
        self._readable = False
        self.close()


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def _duration(seconds: float) -> str:
    """Return hours, minutes and seconds.

    >>> _duration(3725.2)
    '1:02:05'
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:.0f}:{minutes:02.0f}:{seconds:02.0f}"

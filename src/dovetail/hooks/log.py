"""Values of a step as a line of text, every so many steps or seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from dovetail.hooks.arguments import texts
from dovetail.hooks.due import Due
from dovetail.hooks.values import Values
from dovetail.run.hooks import Hook, Run


class Log(Hook):
    """Shows values of a step: above the progress bar, or among the lines of a log.

    Costs a division at each step. Where a line is due, it waits for the device and computes the
    metrics of that batch that are shown (about 0.1 ms each).

    Args:
      names: what to show: `loss`, `learning_rate`, `position`, `examples_per_sec`, a metric, a
        summary, a prediction, a parameter. None: the loss, the learning rate, and every metric and
        scalar summary.
      every_steps: show step 1 and every multiple of it; 100.
      every_secs: instead, show the first step and then one in so many seconds.
      at_end: show the last step too, for which each step's output is kept during the next.
      text: (step, values) -> the line; None: `step 100: loss 0.25  accuracy 0.9`.

    Raises:
      ParamsError: an argument is out of range; at the first line due, a name that is not there.

    Example:
      >>> Log(["loss", "accuracy"], every_steps=50, at_end=True).names
      ('loss', 'accuracy')
    """

    def __init__(
        self,
        names: Iterable[str] | str | None = None,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_end: bool = False,
        text: Callable[[int, dict[str, Any]], str] | None = None,
    ) -> None:
        self.names = texts("Log", "names", names)
        self.at_end = at_end
        self._text = text
        self._due = Due("Log", every_steps, every_secs)
        self._values = Values("Log", self.names, tensors=True)
        self._last: dict[str, Any] | None = None
        self._shown: tuple[int, float] | None = None

    def begin(self, run: Run) -> None:
        self._due.begin()
        self._values.begin(run)
        self._last, self._shown = None, None

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        if self._due.after(run):
            self._show(run, output)
            self._last = None
        elif self.at_end:
            self._last = output

    def end(self, run: Run) -> None:
        if self._last is not None:
            self._show(run, self._last)
            self._last = None

    def _show(self, run: Run, output: dict[str, Any]) -> None:
        values = self._values.read(run, output)
        now = time.monotonic()
        if self._text is not None:
            run.note(self._text(run.step, values))
            return
        parts = [f"{name} {_shown(value)}" for name, value in values.items()]
        if self._shown is not None and run.step > self._shown[0]:
            step, then = self._shown
            parts.append(f"({now - then:.2f} s for {run.step - step} steps)")
        self._shown = run.step, now
        run.note(f"step {run.step}: {'  '.join(parts)}")


def _shown(value: Any) -> str:
    """Return a value as text: a tensor with what numpy shows of it.

    >>> _shown(0.123456), _shown([0.5, 1.0])
    ('0.1235', '[0.5 1. ]')
    """
    import numpy as np

    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Tensor):
        value = (value.float() if value.is_floating_point() else value).numpy()
    return np.array2string(np.asarray(value), precision=4, threshold=20, edgeitems=3)

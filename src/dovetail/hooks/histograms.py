"""Histograms of parameters, their gradients, and what a step changes them by."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from dovetail.errors import ParamsError, nearest
from dovetail.hooks.arguments import texts, whole
from dovetail.hooks.due import Due
from dovetail.hooks.event_log import writer_of
from dovetail.run.hooks import Hook, Run


class Histograms(Hook):
    """Writes histograms of parameters, gradients and updates to the event log.

    Tags: `parameters/<name>`, `gradients/<name>` (as the optimizer got them: after clipping) and
    `updates/<name>` (value after the step less value before), and the curves
    `update_ratio/<name>`: the norm of the update over that of the parameter; about 0.001 is usual,
    far more is a learning rate too high. Costs a division at each step. A step where it is due
    copies the parameters before the step (into memory that is kept, as large as they are), and
    fetches at most `sample` values of each: about 10 ms for each 100,000.

    Args:
      parameters: patterns of their names; all by default.
      every_steps: write at step 1 and every multiple of it; 500.
      every_secs: instead, write once in so many seconds.
      gradients: whether to write those.
      updates: whether to write those; without, nothing is copied.
      sample: of a larger tensor at most so many values are taken, evenly spaced; 100,000.

    Raises:
      ParamsError: an argument is out of range, the hook is given to an evaluation, or no parameter
        matches a pattern.

    Example:
      >>> Histograms(["encoder.*"], every_steps=1000, updates=False).patterns
      ('encoder.*',)
    """

    def __init__(
        self,
        parameters: Iterable[str] | str = "*",
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        gradients: bool = True,
        updates: bool = True,
        sample: int = 100_000,
    ) -> None:
        self.patterns = texts("Histograms", "parameters", parameters) or ("*",)
        self.gradients = gradients
        self.updates = updates
        self.sample = whole("Histograms", "sample", sample, 1)
        self._due = Due("Histograms", every_steps, every_secs, by_default=500)
        self._watched: dict[str, torch.nn.Parameter] = {}
        self._before: dict[str, Tensor] = {}
        self._now = False

    def begin(self, run: Run) -> None:
        self._due.begin()
        writer_of(run, "Histograms")
        named = dict(run.program.network.named_parameters())
        for pattern in self.patterns:
            if not fnmatch.filter(named, pattern):
                raise ParamsError(
                    f"hooks.Histograms: no parameter matches '{pattern}'.{nearest(pattern, named)} "
                    f"There are: {', '.join(named)}."
                )
        self._watched = {
            name: parameter
            for name, parameter in named.items()
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)
        }
        self._before, self._now = {}, False

    def before_step(self, run: Run) -> None:
        self._now = self._due.before(run)
        if self._now and self.updates:
            with torch.no_grad():
                for name, parameter in self._watched.items():
                    if name in self._before:
                        self._before[name].copy_(parameter)
                    else:
                        self._before[name] = parameter.detach().clone()

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        if not self._now:
            return
        writer = writer_of(run, "Histograms")
        ratios: dict[str, Tensor] = {}
        for name, parameter in self._watched.items():
            value = parameter.detach()
            writer.histogram(f"parameters/{name}", self._taken(value), run.step)
            if self.gradients and parameter.grad is not None:
                gradient = parameter.grad.detach()
                writer.histogram(f"gradients/{name}", self._taken(gradient), run.step)
            if self.updates:
                before = self._before[name]
                update = value - before
                writer.histogram(f"updates/{name}", self._taken(update), run.step)
                ratios[f"update_ratio/{name}"] = update.norm() / before.norm().clamp_min(1e-12)
        writer.scalars(ratios, run.step)

    def end(self, run: Run) -> None:
        self._watched, self._before = {}, {}

    def _taken(self, values: Tensor) -> Tensor:
        if values.is_sparse:
            values = values.coalesce().values()
        values = values.reshape(-1)
        return values[:: -(-values.numel() // self.sample)] if values.numel() else values

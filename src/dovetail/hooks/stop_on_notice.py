"""Ending a run on a notice that the machine is about to be taken away."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dovetail.errors import ParamsError
from dovetail.hooks.due import Due
from dovetail.run.hooks import Hook, Run


class StopOnNotice(Hook):
    """Ends the run when a file appears or a function says so; the state is saved.

    For preemptions that come as anything but SIGTERM and SIGINT, which every run heeds: a file
    that a watcher of the cloud's metadata writes, or `touch STOP` by hand. Costs a look at the
    clock at each step, and one at the file, or a call of the function, where that is due.

    Args:
      notice: the path of a file, a relative one being looked for in model_dir; or a function
        without arguments that returns whether to end.
      every_secs: how often to look; 5.

    Raises:
      ParamsError: notice is neither, or every_secs is not above zero.

    Example:
      >>> StopOnNotice("STOP").notice
      'STOP'
    """

    def __init__(
        self, notice: str | os.PathLike[str] | Callable[[], Any], *, every_secs: float = 5.0
    ) -> None:
        if not (isinstance(notice, (str, os.PathLike)) or callable(notice)):
            raise ParamsError(
                f"hooks.StopOnNotice: notice must be a path or a function without arguments; it is "
                f"{notice!r}."
            )
        self.notice = notice
        self._due = Due("StopOnNotice", every_secs=every_secs)

    def begin(self, run: Run) -> None:
        self._due.begin()

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        if not self._due.after(run):
            return
        if callable(self.notice):
            if self.notice():
                name = getattr(self.notice, "__name__", repr(self.notice))
                run.request_stop(f"StopOnNotice: {name} says so")
        elif Path(run.model_dir, self.notice).exists():
            run.request_stop(f"StopOnNotice: {Path(run.model_dir, self.notice)} is there")

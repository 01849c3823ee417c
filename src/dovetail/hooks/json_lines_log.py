"""A log as JSON lines, one object for each logged step."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from dovetail.hooks.logged_rows import LoggedRows
from dovetail.hooks.row_files import JsonLines
from dovetail.run.hooks import Hook, Run


class JsonLinesLog(Hook):
    """Writes values of steps, and every evaluation, as lines of JSON in model_dir.

    Each line is an object with `step`, `time` (seconds since 1970) and the names; evaluations have
    `eval/accuracy` and the like. JSON has no nan and no infinity: they become null. A resumed run
    drops the lines after the checkpoint's step, which it writes again, so that no two lines tell
    of one step. Read it with pandas.read_json(path, lines=True).

    Costs a division at each step; a line waits for the device, computes its metrics (about
    0.1 ms each) and takes 50 microseconds to write.

    Args:
      path: of the file; a relative one is in model_dir.
      names: what to write, as `Log` takes them, each a number. None: the loss, the learning rate,
        and every metric and scalar summary.
      every_steps: a row for step 1 and every multiple of it; 100.
      every_secs: instead, a row in so many seconds.

    Raises:
      ParamsError: an argument is out of range; at the first row, a name that is not there.
      DataError: the file at path is no log of this run.
      StorageError: at the begin, the file can't be read; one that can't be written later is noted.

    Example:
      >>> hook = JsonLinesLog(names=["loss", "accuracy"], every_steps=10)
      >>> hook.path.name
      'log.jsonl'
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = "log.jsonl",
        *,
        names: Iterable[str] | str | None = None,
        every_steps: int | None = None,
        every_secs: float | None = None,
    ) -> None:
        self._rows = LoggedRows("JsonLinesLog", JsonLines(), path, names, every_steps, every_secs)
        self.path = self._rows.path

    def begin(self, run: Run) -> None:
        self._rows.begin(run)

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        self._rows.after_step(run, output)

    def after_evaluate(self, run: Run, name: str, metrics: dict[str, Any]) -> None:
        self._rows.after_evaluate(run, name, metrics)

    def end(self, run: Run) -> None:
        self._rows.end(run)

    def on_error(self, run: Run, error: BaseException) -> None:
        self._rows.end(run)

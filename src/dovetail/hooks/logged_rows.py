"""What becomes a row of a log: the values of a step that is due, and each evaluation."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dovetail.errors import ParamsError, StorageError
from dovetail.hooks.arguments import texts
from dovetail.hooks.due import Due
from dovetail.hooks.event_log import check_training
from dovetail.hooks.row_files import Row, RowFile
from dovetail.hooks.values import Values, numbers_of, step_of_evaluation
from dovetail.run.hooks import Run

_WAITING = 10_000  # rows that are kept while a file can't be written


class LoggedRows:
    """Makes rows of a run and writes them to a file in its model_dir.

    A file that can't be read at the begin is an error. One that can't be written later, since the
    disk is full, say, is noted, and its rows are written when it can.

    Args:
      hook: the name of whose it is, for messages.
      file: how rows lie on disk.
      path: of the file; a relative one is in model_dir.
      names, every_steps, every_secs: as the hook got them.
      clock: seconds since 1970.

    Raises:
      ParamsError: an argument is out of range.
    """

    def __init__(
        self,
        hook: str,
        file: RowFile,
        path: str | os.PathLike[str],
        names: Iterable[str] | str | None,
        every_steps: int | None,
        every_secs: float | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)) or not str(path):
            raise ParamsError(f"hooks.{hook}: path must be the path of a file; it is {path!r}.")
        self.path = Path(path)
        self.names = texts(hook, "names", names)
        self._hook = hook
        self._file = file
        self._due = Due(hook, every_steps, every_secs)
        self._values = Values(hook, self.names)
        self._clock = clock
        self._found: set[tuple[int, str]] = set()
        self._waiting: deque[Row] = deque(maxlen=_WAITING)
        self._failing = False

    def begin(self, run: Run) -> None:
        """Go on after the rows up to the step that the run goes on from."""
        check_training(run, self._hook)  # one of an earlier checkpoint would drop later rows
        self._due.begin()
        self._values.begin(run)
        there = self._file.rewind(Path(run.model_dir, self.path), run.step)
        self._waiting.clear()
        self._failing = False
        self._found = {(int(row["step"]), column) for row in there for column in row}

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        """Write a row where it is due."""
        if self._due.after(run):
            self._write(run, run.step, self._values.read(run, output))

    def after_evaluate(self, run: Run, name: str, metrics: dict[str, Any]) -> None:
        """Write a row of an evaluation, if it is not there from before a resume."""
        step, values = step_of_evaluation(metrics, run), numbers_of(metrics, name)
        if any((step, column) not in self._found for column in values):
            self._write(run, step, values)

    def end(self, run: Run) -> None:
        """Write what waits; say what is lost."""
        self._flush(run)
        if self._waiting:
            run.note(
                f"hooks.{self._hook}: the last {len(self._waiting)} rows could not be written."
            )

    def _write(self, run: Run, step: int, values: dict[str, Any]) -> None:
        self._waiting.append({"step": step, "time": round(self._clock(), 3), **values})
        self._flush(run)

    def _flush(self, run: Run) -> None:
        while self._waiting:
            try:
                self._file.append(Path(run.model_dir, self.path), self._waiting[0])
            except (
                StorageError
            ) as error:  # a checkpoint that can't be written ends the run, not this
                if not self._failing:
                    run.note(
                        f"hooks.{self._hook}: {error} The run goes on; up to {_WAITING:,} rows "
                        "are kept and written when it can."
                    )
                self._failing = True
                return
            self._waiting.popleft()
        self._failing = False

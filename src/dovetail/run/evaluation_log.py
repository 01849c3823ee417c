"""The event log of one evaluation beside training, which is also its memory over restarts.

It is opened for each point alone, since `dovetail evaluate` may rewrite the files meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from dovetail.errors import StorageError
from dovetail.run.event_files import record, rewind
from dovetail.run.event_protos import Event, Summary
from dovetail.run.summaries import SummaryWriter, read_scalars


class EvaluationLog:
    """The curves of one evaluation: one file in its folder for the length of a run.

    Args:
      folder: such as `model_dir/eval`; made when there is something to write.

    Example:
      >>> import tempfile
      >>> log = EvaluationLog(Path(tempfile.mkdtemp()) / "eval")
      >>> log.begin(0)
      >>> log.write({"loss": 0.5}, 10)
      >>> log.write({"loss": 0.25}, 20)
      >>> log.begin(10)
      >>> log.at(10), log.at(20)
      ({'loss': 0.5}, {})
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._start: int | None = None
        self._file: Path | None = None

    def begin(self, step: int) -> None:
        """Drop what a run that was killed wrote of later steps: it will be written again."""
        self._start = step
        rewind(self.folder, lambda found: found <= step)

    def at(self, step: int) -> dict[str, float]:
        """Return what was written of a step."""
        curves = read_scalars(self.folder)
        return {tag: value for tag, points in curves.items() for s, value in points if s == step}

    def write(self, values: Mapping[str, float], step: int) -> None:
        if self._file is None or not self._file.exists():
            with SummaryWriter(self.folder, self._start, replace_step=step) as writer:
                writer.scalars(values, step)
            self._start, self._file = None, writer.path
            return
        entries = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=entries))
        size = self._file.stat().st_size
        try:
            with self._file.open("ab") as file:
                file.write(record(event.SerializeToString()))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self._file, size)  # no half of a record stands before later ones
            raise StorageError(
                f"The metrics of step {step} can't be written to {self._file}: {error}. Make room, "
                "then start the same command again: the evaluation will be made again."
            ) from error

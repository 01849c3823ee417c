"""A file in model_dir that says, every few seconds, that a run is alive and what it is doing.

`model_dir/heartbeat.json` is replaced as a whole each time, so that a reader finds one of them
and never half of one. It is for looking at: nothing that a run needs is in it, so it is not
synced to the disk, and a disk that is full never stops a run because of it.

In a training loop, inside the lock of model_dir, so that a run which is refused says nothing:

    with Heartbeat(model_dir, config.heartbeat_secs, note=progress.note) as heartbeat:
        heartbeat.beat("starting", step, last_step=last_step, goodput=goodput)
        ...
            output = program.train_step(...)
            heartbeat.beat("training", step, loss=output["loss"], position=position,
                           learning_rate=program.learning_rate)
            ...
            heartbeat.saved(step)                            # a checkpoint is whole on disk
            heartbeat.beat("evaluating", step)               # before what takes long
            heartbeat.evaluated(name, step, metrics)         # after each evaluation
        heartbeat.close("done", why)                         # "max_steps", "input ended", "hook"

Leaving the block with an exception closes it with that: "signal" for KeyboardInterrupt and
SystemExit, "error" with its message for any other.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, SupportsFloat

from dovetail.run.process_identity import this_process

if TYPE_CHECKING:
    from dovetail.run.goodput import Goodput

FILE = "heartbeat.json"
_WINDOW = 3
"""The rate is that of the time since the last heartbeat but so many."""

_LONGEST = 2000
_SIGNALS = {129: "SIGHUP", 130: "SIGINT", 143: "SIGTERM"}


class Heartbeat:
    """Says that a run is alive.

    Args:
      model_dir: where `heartbeat.json` is written; it must be there.
      every_secs: how often, and oftener in the first seconds; 0: never, and every method does
        nothing.
      note: is told, once, that it can't be written.
      clock: seconds, never going back, by which it is due.
      time_of_day: seconds since 1970, which is written.

    Example:
      >>> import tempfile
      >>> folder = tempfile.mkdtemp()
      >>> with Heartbeat(folder, every_secs=10) as heartbeat:
      ...     heartbeat.beat("training", step=1, loss=0.5, last_step=100)
      ...     heartbeat.close("done", "max_steps")
      >>> found = read(folder)
      >>> found["state"], found["why"], found["step"], found["loss"], found["last_step"]
      ('done', 'max_steps', 1, 0.5, 100)
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        every_secs: float,
        *,
        note: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        time_of_day: Callable[[], float] = time.time,
    ) -> None:
        self.path = Path(model_dir, FILE)
        self.every_secs = every_secs
        self._note = note
        self._clock = clock
        self._time_of_day = time_of_day
        self._closed = every_secs <= 0
        self._due = math.inf if self._closed else -math.inf
        self._begun = clock()
        self._state = ""
        self._step: int | None = None
        self._position: int | None = None
        self._loss: SupportsFloat | None = None
        self._learning_rate: float | Callable[[], float] | None = None
        self._goodput: Goodput | None = None
        self._failed = False
        self._seen: list[tuple[float, int, int | None]] = []
        self._said: dict[str, Any] = {
            "version": 1,
            "started": time_of_day(),
            "every_secs": every_secs,
            "process": this_process().to_dict(),
            "command": list(sys.argv),
            "evaluations": {},
        }

    def beat(
        self,
        state: str,
        step: int,
        *,
        loss: SupportsFloat | None = None,
        position: int | None = None,
        learning_rate: float | Callable[[], float] | None = None,
        last_step: int | None = None,
        goodput: Goodput | None = None,
    ) -> None:
        """Say what the run is doing, if that is due; else this is a look at the clock.

        What is left out stays as it was said last.

        Args:
          state: "starting", "training", "evaluating", "saving", ...; a new one is written at once
            (under 1 ms), so it is for what takes a while, not for parts of a step.
          step: how many steps are finished.
          loss: of the last step; a tensor is read only when it is written, which on an
            accelerator waits for the step.
          position: how many examples are used.
          learning_rate: of the last step, or a function that gives it, asked when it is written.
          last_step: the step at which the run will end, once that is known.
          goodput: where the time goes; it is asked whenever something is written.
        """
        self._step = step
        if loss is not None:
            self._loss = loss
            self._position = position
        if learning_rate is not None:
            self._learning_rate = learning_rate
        if last_step is not None:
            self._said["last_step"] = last_step
        if goodput is not None:
            self._goodput = goodput
        now = self._clock()
        if (now < self._due and state == self._state) or self._closed:
            return
        self._state = state
        self._said.setdefault("first_step", step)
        self._measure(now, step, self._position)
        self._write(state)

    def saved(self, step: int, path: str | os.PathLike[str] | None = None) -> None:
        """Say, with the next heartbeat, that the checkpoint of a step is whole on disk."""
        where = None if path is None else os.fspath(path)
        self._said["checkpoint"] = {"step": step, "time": self._time_of_day(), "path": where}

    def evaluated(self, name: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Say, with the next heartbeat, what an evaluation found; `name` may be ""."""
        numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
        entry = {"step": step, "time": self._time_of_day(), "metrics": numbers}
        self._said["evaluations"][name] = entry

    def close(self, state: str, why: str = "") -> None:
        """Say how the run ended; only the first call counts, and no heartbeat follows it.

        Args:
          state: "done", "signal" or "error".
          why: what ended it, such as "max_steps", "SIGTERM", or the error's message.
        """
        if self._closed:
            return
        self._said["why"] = why[:_LONGEST]
        self._write(state)
        self._closed, self._due = True, math.inf

    def __enter__(self) -> Heartbeat:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close("done")
        elif isinstance(error, KeyboardInterrupt):
            self.close("signal", "SIGINT")
        elif isinstance(error, SystemExit) and error.code in _SIGNALS:
            self.close("signal", _SIGNALS[error.code])
        else:
            self.close("error", f"{type(error).__name__}: {error}")

    def _measure(self, now: float, step: int, position: int | None) -> None:
        """Take the rate since some heartbeats ago; those at once after another are left out."""
        seen = self._seen
        if seen and now - seen[-1][0] < self._every(now) / 2:
            return
        if seen and now > seen[0][0] and step > seen[0][1]:
            then, old_step, old_position = seen[0]
            self._said["steps_per_sec"] = (step - old_step) / (now - then)
            if position is not None and old_position is not None:
                self._said["examples_per_sec"] = (position - old_position) / (now - then)
        seen.append((now, step, position))
        del seen[:-_WINDOW]

    def _every(self, now: float) -> float:
        """After 1, 2, 4, 8 seconds at first, so that a run that has just begun can be looked at."""
        return min(self.every_secs, max(1.0, now - self._begun))

    def _write(self, state: str) -> None:
        said = self._said
        said["state"] = state
        said["step"] = self._step
        self._read_loss()
        said["position"] = self._position
        rate = self._learning_rate
        said["learning_rate"] = rate() if callable(rate) else rate
        if self._goodput is not None:
            said["goodput"] = self._goodput.totals()
        said["time"] = self._time_of_day()
        now = self._clock()  # after the loss: reading it may have waited
        self._due = now + self._every(now)
        aside = self.path.with_name(f".{FILE}.part")
        try:
            aside.write_text(json.dumps(_finite(said), allow_nan=False), encoding="utf-8")
            aside.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink()
            self._say_once(error)

    def _read_loss(self) -> None:
        if self._loss is None:
            return
        try:
            self._said["loss"] = float(self._loss)
        except RuntimeError:  # an accelerator that failed: the run tells of it, not the heartbeat
            self._said["loss"] = None

    def _say_once(self, error: OSError) -> None:
        if not self._failed and self._note is not None:
            self._note(
                f"The heartbeat {self.path} can't be written: {error.strerror or error}. The run "
                "goes on; dovetail status will know less of it."
            )
        self._failed = True


def read(model_dir: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the last heartbeat of a model_dir; None if there is none that can be read.

    >>> read("no-such-folder") is None
    True
    """
    try:
        found = json.loads(Path(model_dir, FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "state" in found and "time" in found else None


def _finite(value: Any) -> Any:
    """JSON has no nan and no infinity: they become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return value

"""A run as a tracking service sees it: one run there for one model_dir, each point once."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from dovetail.errors import DovetailError, ParamsError
from dovetail.hooks.arguments import texts
from dovetail.hooks.due import Due
from dovetail.hooks.event_log import check_training
from dovetail.hooks.values import Values, numbers_of, step_of_evaluation
from dovetail.run.hooks import Run
from dovetail.run.provenance import plain

_WAITING = 10_000  # points that are kept while a service does not answer
_PATIENCE = 10  # a service that fails is left alone for so many times what the attempt took


class Service(Protocol):
    """Where runs are tracked."""

    name: str

    def open(self, run: Run, kept: str | None) -> str:
        """Begin a run, or go on with the one whose id was kept; return its id."""
        ...

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write points of curves."""
        ...

    def checkpoint(self, path: Path) -> None:
        """Write where the newest checkpoint is."""
        ...

    def close(self, error: BaseException | None, *, interrupted: bool) -> None:
        """Write how the run ended."""
        ...


class TrackedRun:
    """Sends values of steps, evaluations, checkpoints' paths and the end of a run to a service.

    The id of the run there is kept in model_dir with the last step sent, so that a resumed run goes
    on with the same one, and what it does again is not sent again. A service that can't be reached
    at the begin is an error; one that fails later is noted, and what it missed is sent later: the
    run spends at most a tenth of its time on attempts that fail.

    Args:
      hook: the name of whose it is, for messages.
      service: where to send to.
      names, every_steps, every_secs: as the hook got them.

    Raises:
      ParamsError: an argument is out of range.
    """

    def __init__(
        self,
        hook: str,
        service: Service,
        names: Iterable[str] | str | None,
        every_steps: int | None,
        every_secs: float | None,
    ) -> None:
        self.hook = hook
        self.names = texts(hook, "names", names)
        self._service = service
        self._due = Due(hook, every_steps, every_secs)
        self._values = Values(hook, self.names)
        self._sent: dict[str, int] = {}
        self._waiting: deque[tuple[str, int, dict[str, float]]] = deque(maxlen=_WAITING)
        self._checkpoint: Path | None = None  # not sent yet
        self._id: str | None = None
        self._failing = False
        self._unkept = False
        self._retry_at = 0.0
        self._clock = time.monotonic

    def begin(self, run: Run) -> None:
        """Begin or go on with the run at the service."""
        check_training(run, self.hook)
        self._due.begin()
        self._values.begin(run)
        self._waiting.clear()
        self._checkpoint, self._failing, self._retry_at = None, False, 0.0
        path = self._file(run)
        kept = _read(path)
        self._sent = dict(kept.get("sent", {}))
        try:
            self._id = self._service.open(run, kept.get("id"))
        except DovetailError:
            raise
        except Exception as error:
            before = f" (going on with '{kept['id']}', of {path})" if kept else ""
            raise DovetailError(
                f"hooks.{self.hook}: {self._service.name} could not begin a run{before}: {error} "
                f"Check the service and its settings"
                + (f", or remove {path} to begin another." if kept else ".")
            ) from error
        if self._id != kept.get("id"):
            self._sent = {}
        elif run.step == 0 and self._sent:
            run.note(
                f"hooks.{self.hook}: this run begins anew, and its steps up to "
                f"{max(self._sent.values())} are in {self._service.name} already, as run "
                f"'{self._id}'; they are not sent again. Remove {path} to have a run of its own."
            )
        self._keep(run)

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        """Send the values of a step that is due."""
        if self._due.after(run):
            self._send(run, "train", run.step, self._values.read(run, output))

    def after_evaluate(self, run: Run, name: str, metrics: dict[str, Any]) -> None:
        """Send an evaluation."""
        step = step_of_evaluation(metrics, run)
        self._send(run, f"eval_{name}" if name else "eval", step, numbers_of(metrics, name))

    def after_save(self, run: Run, path: Path) -> None:
        """Send where the checkpoint is."""
        self._checkpoint = path
        self._flush(run)

    def end(self, run: Run, error: BaseException | None = None) -> None:
        """Send what waits, and how the run ended."""
        if self._id is None:
            return
        self._retry_at = 0.0
        self._flush(run)
        if self._waiting:
            run.note(
                f"hooks.{self.hook}: {self._service.name} did not take the last "
                f"{len(self._waiting)} points."
            )
        self._attempt(run, lambda: self._service.close(error, interrupted=run.why == "signal"))
        self._id = None

    def _send(self, run: Run, group: str, step: int, values: dict[str, float]) -> None:
        if step > self._sent.get(group, -1):
            self._waiting.append((group, step, values))
            self._flush(run)

    def _flush(self, run: Run) -> None:
        """Send what waits, unless the service failed a short time ago."""
        if self._clock() < self._retry_at:
            return
        while self._waiting:
            group, step, values = self._waiting[0]
            if not self._attempt(run, lambda: self._service.log(values, step)):  # noqa: B023
                return
            self._waiting.popleft()
            self._sent[group] = step
            self._keep(run)
        path = self._checkpoint
        if path is not None and self._attempt(run, lambda: self._service.checkpoint(path)):
            self._checkpoint = None

    def _attempt(self, run: Run, call: Callable[[], None]) -> bool:
        """Do something at the service; say so when it begins and when it ceases to fail."""
        began = self._clock()
        try:
            call()
        except Exception as error:  # a service's fault must not end a training
            now = self._clock()
            self._retry_at = now + _PATIENCE * (now - began)
            if not self._failing:
                run.note(
                    f"hooks.{self.hook}: {self._service.name} failed at step {run.step} "
                    f"({type(error).__name__}: {error}). Training goes on; up to {_WAITING:,} "
                    "points are kept and sent when it answers again."
                )
            self._failing = True
            return False
        if self._failing:
            run.note(f"hooks.{self.hook}: {self._service.name} answers again at step {run.step}.")
        self._failing = False
        return True

    def _file(self, run: Run) -> Path:
        return Path(run.model_dir, f"{self._service.name.lower()}_run.json")

    def _keep(self, run: Run) -> None:
        path = self._file(run)
        aside = path.with_name(f".{path.name}.part")
        try:
            aside.write_text(json.dumps({"id": self._id, "sent": self._sent}) + "\n")
            os.replace(aside, path)
        except OSError as error:
            if not self._unkept:
                run.note(
                    f"hooks.{self.hook}: {path} can't be written ({error}), so a resume would send "
                    "again what is sent from now on."
                )
            self._unkept = True


def imported(module: str, hook: str) -> ModuleType:
    """Return a module that Dovetail does not bring along.

    Raises:
      ParamsError: it is not installed; the command that installs it is named.

    >>> imported("json", "JsonLinesLog").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ParamsError(
            f"hooks.{hook} needs {module}, which is not installed here. Install it: "
            f"pip install {module}"
        ) from error


def parameters(run: Run) -> dict[str, Any]:
    """Return what a run was started with: the hyperparameters, and its settings as `runconfig`."""
    values = dict(plain(run.program.params.to_dict()))
    if run.config is not None:
        values.setdefault("runconfig", plain(run.config.to_dict()))
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text())
        if isinstance(kept, dict) and isinstance(kept.get("id"), str):
            return kept
    except FileNotFoundError:
        return {}
    except ValueError:
        pass
    raise ParamsError(
        f"{path} does not hold the id of a tracked run; remove it, and a new one is begun."
    )

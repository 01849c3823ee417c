"""Runs in Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dovetail.hooks.arguments import texts
from dovetail.hooks.tracking import TrackedRun, imported, parameters
from dovetail.run.hooks import Hook, Run


class WandbLog(Hook):
    """Sends params, values of steps, evaluations, checkpoints' paths and the end to W&B.

    Needs `pip install wandb`. The run's id is kept in model_dir (`wandb_run.json`), so that a
    resumed run goes on with it, and no step is sent twice. If a run of yours is active
    (`wandb.init()`), that one is used and left open. Evaluations are `eval/<metric>` or
    `eval_<name>/<metric>`; the newest checkpoint is `checkpoint` in the summary; a run that fails
    ends with exit code 1 and has `error` in the summary; one that a signal ends, with its state
    saved, is marked as preempted. What fails during training is noted, and
    sent later.

    Costs a division at each step; a point waits for the device, and W&B sends it from a process
    of its own.

    Args:
      project: its name; None: of WANDB_PROJECT, or W&B's own default.
      entity: the user or team; None: yours.
      run_name: what the run is called; None: the name of model_dir.
      mode: "online", "offline" or "disabled"; None: of WANDB_MODE, or online.
      names: what to send, as `Log` takes them, each a number. None: the loss, the learning rate,
        and every metric and scalar summary.
      tags: of the run.
      every_steps: send step 1 and every multiple of it; 100.
      every_secs: instead, send once in so many seconds.

    Raises:
      ParamsError: an argument is out of range, or at the begin W&B is not installed.
      DovetailError: at the begin, W&B can't begin a run.

    Example:
      >>> WandbLog("digits", mode="offline").project
      'digits'
    """

    def __init__(
        self,
        project: str | None = None,
        *,
        entity: str | None = None,
        run_name: str | None = None,
        mode: str | None = None,
        names: Iterable[str] | str | None = None,
        tags: Iterable[str] | None = None,
        every_steps: int | None = None,
        every_secs: float | None = None,
    ) -> None:
        self.project = project
        texts("WandbLog", "project", project)
        given = {
            "project": project,
            "entity": entity,
            "name": run_name,
            "mode": mode,
            "tags": texts("WandbLog", "tags", tags),
        }
        self._tracked = TrackedRun("WandbLog", _Wandb(given), names, every_steps, every_secs)

    def begin(self, run: Run) -> None:
        self._tracked.begin(run)

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        self._tracked.after_step(run, output)

    def after_save(self, run: Run, path: Path) -> None:
        self._tracked.after_save(run, path)

    def after_evaluate(self, run: Run, name: str, metrics: dict[str, Any]) -> None:
        self._tracked.after_evaluate(run, name, metrics)

    def end(self, run: Run) -> None:
        self._tracked.end(run)

    def on_error(self, run: Run, error: BaseException) -> None:
        self._tracked.end(run, error)


class _Wandb:
    """Weights & Biases as a service."""

    name = "wandb"

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = {name: value for name, value in given.items() if value is not None}
        self.own = True
        self._run: Any = None

    def open(self, run: Run, kept: str | None) -> str:
        wandb = imported("wandb", "WandbLog")
        self.own = wandb.run is None
        if self.own:
            folder = Path(run.model_dir).resolve()
            given: dict[str, Any] = {"name": folder.name, "dir": str(folder), **self.given}
            if kept is not None:
                given |= {"id": kept, "resume": "allow"}
            self._run = wandb.init(**given)
            if kept is not None:
                self._run.summary["error"] = None  # of an end that was none
        else:
            self._run = wandb.run
        told = {**parameters(run), "model_dir": str(Path(run.model_dir).resolve())}
        self._run.config.update(told, allow_val_change=True)
        return str(self._run.id)

    def log(self, values: Mapping[str, float], step: int) -> None:
        # Its own count of steps never goes back, so an evaluation that comes late has its step in
        # `global_step`.
        self._run.log({**values, "global_step": step}, step=max(step, int(self._run.step or 0)))

    def checkpoint(self, path: Path) -> None:
        self._run.summary["checkpoint"] = str(path)

    def close(self, error: BaseException | None, *, interrupted: bool) -> None:
        if error is not None:
            self._run.summary["error"] = f"{type(error).__name__}: {error}"
        if self.own:
            if interrupted:
                self._run.mark_preempting()  # with an exit code, its state is "preempted"
            self._run.finish(exit_code=1 if error is not None or interrupted else 0)

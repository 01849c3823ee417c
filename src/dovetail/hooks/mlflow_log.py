"""Runs in MLflow."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dovetail.errors import ParamsError
from dovetail.hooks.arguments import texts
from dovetail.hooks.tracking import TrackedRun, imported, parameters
from dovetail.run.hooks import Hook, Run

_PARAMS_AT_ONCE = 100  # what MLflow takes in one request
_LONGEST = 6000


class MLflowLog(Hook):
    """Sends params, values of steps, evaluations, checkpoints' paths and the end to MLflow.

    Needs `pip install mlflow` (or mlflow-skinny). The run's id is kept in model_dir
    (`mlflow_run.json`), so that a resumed run goes on with it, and no step is sent twice. If a run
    of yours is active (`mlflow.start_run()`), that one is used and left open. Evaluations are
    `eval/<metric>` or `eval_<name>/<metric>`; the newest checkpoint is the tag `checkpoint`; a run
    that fails is FAILED and has the tag `error`; one that a signal ends, with its state saved, is
    KILLED. A server that fails during training is noted, and
    what it missed is sent later.

    Costs a division at each step; a point waits for the device and for one request to the server.

    Args:
      experiment: its name; None: of MLFLOW_EXPERIMENT_NAME or _ID, or "Default".
      run_name: what the run is called; None: the name of model_dir.
      tracking_uri: where MLflow is; None: of MLFLOW_TRACKING_URI, or MLflow's own default.
      names: what to send, as `Log` takes them, each a number. None: the loss, the learning rate,
        and every metric and scalar summary.
      tags: of the run.
      every_steps: send step 1 and every multiple of it; 100.
      every_secs: instead, send once in so many seconds.

    Raises:
      ParamsError: an argument is out of range, or at the begin MLflow is not installed.
      DovetailError: at the begin, the server does not answer, or does not know the kept run.

    Example:
      >>> MLflowLog("digits", every_steps=10).experiment
      'digits'
    """

    def __init__(
        self,
        experiment: str | None = None,
        *,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        names: Iterable[str] | str | None = None,
        tags: Mapping[str, str] | None = None,
        every_steps: int | None = None,
        every_secs: float | None = None,
    ) -> None:
        self.experiment = experiment
        texts("MLflowLog", "experiment", experiment)
        if tags is not None and not isinstance(tags, Mapping):
            raise ParamsError(f"hooks.MLflowLog: tags must be a dict of texts; it is {tags!r}.")
        service = _MLflow(experiment, run_name, tracking_uri, dict(tags or {}))
        self._tracked = TrackedRun("MLflowLog", service, names, every_steps, every_secs)

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


class _MLflow:
    """MLflow as a service, by its client alone: no global state of it is changed."""

    name = "MLflow"

    def __init__(
        self,
        experiment: str | None,
        run_name: str | None,
        tracking_uri: str | None,
        tags: dict[str, str],
    ) -> None:
        self.experiment = experiment
        self.run_name = run_name
        self.tracking_uri = tracking_uri
        self.tags = tags
        self.run_id = ""
        self.own = True

    def open(self, run: Run, kept: str | None) -> str:
        mlflow = imported("mlflow", "MLflowLog")
        self._entities = mlflow.entities
        self._client: Any = mlflow.MlflowClient(tracking_uri=self.tracking_uri)
        active = mlflow.active_run()
        self.own = active is None
        if active is not None:
            self.run_id = active.info.run_id
        elif kept is not None:
            self.run_id = kept
            self._client.update_run(kept, status="RUNNING")
            if "error" in self._client.get_run(kept).data.tags:
                self._client.delete_tag(kept, "error")  # it goes on: that is over
        else:
            name = self.run_name or Path(run.model_dir).resolve().name
            made = self._client.create_run(self._experiment_id(), tags=self.tags, run_name=name)
            self.run_id = made.info.run_id
        self._log_params(_flat(parameters(run)))
        self._client.set_tag(self.run_id, "model_dir", str(Path(run.model_dir).resolve()))
        return self.run_id

    def log(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        points = [
            self._entities.Metric(_key(name), value, now, step) for name, value in values.items()
        ]
        self._client.log_batch(self.run_id, metrics=points)

    def checkpoint(self, path: Path) -> None:
        self._client.set_tag(self.run_id, "checkpoint", str(path))

    def close(self, error: BaseException | None, *, interrupted: bool) -> None:
        if error is not None:
            said = f"{type(error).__name__}: {error}"
            self._client.set_tag(self.run_id, "error", said[:_LONGEST])
        if self.own:
            ended = "FAILED" if error is not None else "KILLED" if interrupted else "FINISHED"
            self._client.set_terminated(self.run_id, ended)

    def _experiment_id(self) -> str:
        told = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if self.experiment is None and told:
            return told
        name = self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "Default"
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found is not None else self._client.create_experiment(name)

    def _log_params(self, params: dict[str, str]) -> None:
        """Log params that are new; MLflow lets none change, so one that did becomes a tag."""
        there = self._client.get_run(self.run_id).data.params
        new = [self._entities.Param(k, v) for k, v in params.items() if k not in there]
        for start in range(0, len(new), _PARAMS_AT_ONCE):
            self._client.log_batch(self.run_id, params=new[start : start + _PARAMS_AT_ONCE])
        for name, value in params.items():
            if there.get(name, value) != value:
                self._client.set_tag(self.run_id, f"changed/{name}", value[:_LONGEST])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested params under dotted names, as text.

    >>> _flat({"width": 3, "optimizer": {"lr": 0.1}, "layers": [1, 2]})
    {'width': '3', 'optimizer.lr': '0.1', 'layers': '[1, 2]'}
    """
    flat: dict[str, str] = {}
    for name, value in values.items():
        key = _key(f"{prefix}{name}")
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            flat[key] = text[:_LONGEST]
    return flat


def _key(name: str) -> str:
    """Return a name in the letters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)

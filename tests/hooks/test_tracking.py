"""Adapters for MLflow and Weights & Biases, against small stand-ins for their modules."""

from __future__ import annotations

import json
import signal
import sys
from types import ModuleType, SimpleNamespace

import pytest

import dovetail
from dovetail import hooks
from dovetail.errors import DovetailError, ParamsError


class FakeMLflow(ModuleType):
    """Keeps what MlflowClient is told, as the real one does: params never change."""

    def __init__(self):
        super().__init__("mlflow")
        self.runs = {}
        self.experiments = {"Default": "0"}
        self.active = None
        self.down = False
        self.entities = SimpleNamespace(
            Metric=lambda key, value, timestamp, step: (key, value, timestamp, step),
            Param=lambda key, value: (key, value),
        )

    def _answer(self):
        if self.down:
            raise ConnectionError("no answer")

    def active_run(self):
        return self.active

    def MlflowClient(self, tracking_uri=None):
        self.tracking_uri = tracking_uri
        return self

    def create_experiment(self, name):
        self.experiments[name] = str(len(self.experiments))
        return self.experiments[name]

    def get_experiment_by_name(self, name):
        known = self.experiments.get(name)
        return None if known is None else SimpleNamespace(experiment_id=known)

    def create_run(self, experiment_id, tags=None, run_name=None):
        run_id = f"run{len(self.runs)}"
        self.runs[run_id] = SimpleNamespace(
            info=SimpleNamespace(run_id=run_id),
            data=SimpleNamespace(params={}, tags=dict(tags or {})),
            experiment=experiment_id,
            name=run_name,
            metrics={},
            status="RUNNING",
        )
        return self.runs[run_id]

    def get_run(self, run_id):
        return self.runs[run_id]

    def update_run(self, run_id, status=None, name=None):
        if run_id not in self.runs:
            raise RuntimeError(f"Run '{run_id}' not found")
        self.runs[run_id].status = status

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        self._answer()
        assert len(params) <= 100
        for key, value in params:
            assert key not in self.runs[run_id].data.params
            self.runs[run_id].data.params[key] = value
        for key, value, _, step in metrics:
            self.runs[run_id].metrics.setdefault(key, []).append((step, value))

    def set_tag(self, run_id, key, value):
        self._answer()
        self.runs[run_id].data.tags[key] = value

    def delete_tag(self, run_id, key):
        del self.runs[run_id].data.tags[key]

    def set_terminated(self, run_id, status=None):
        self._answer()
        self.runs[run_id].status = status


class FakeWandb(ModuleType):
    """Keeps what runs are told, as the real one does: steps never go back."""

    def __init__(self):
        super().__init__("wandb")
        self.runs = {}
        self.run = None

    def init(self, **given):
        run_id = given.get("id") or f"w{len(self.runs)}"
        if run_id in self.runs:
            assert given["resume"] == "allow"
        run = self.runs.setdefault(run_id, FakeWandbRun(run_id))
        run.given, run.exit_code = given, None
        return run


class FakeWandbRun:
    def __init__(self, run_id):
        self.id, self.step, self.summary, self.rows, self.exit_code = run_id, 0, {}, [], None
        self.config = {}
        self.config = SimpleNamespace(told={}, update=self._update)

    def _update(self, told, allow_val_change):
        assert allow_val_change
        self.config.told.update(told)

    def log(self, values, step):
        assert step >= self.step
        self.step = step
        self.rows.append((step, values))

    def mark_preempting(self):
        self.preempted = True

    def finish(self, exit_code):
        self.exit_code = exit_code


@pytest.fixture
def mlflow(monkeypatch):
    fake = FakeMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return fake


@pytest.fixture
def wandb(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


class FailAt(dovetail.Hook):
    def __init__(self, step):
        self.step = step

    def after_step(self, run, output):
        if run.step == self.step:
            raise ZeroDivisionError("on purpose")


class EvaluateAt(dovetail.Hook):
    """Tells a hook of an evaluation at a step of choice."""

    def __init__(self, hook, *steps):
        self.hook, self.steps = hook, steps

    def after_step(self, run, output):
        if run.step in self.steps:
            self.hook.after_evaluate(run, "", {"accuracy": 0.5, "global_step": run.step})


def test_mlflow_gets_params_metrics_evaluations_checkpoints_and_the_end(train, mlflow):
    hook = hooks.MLflowLog("digits", names="loss", tags={"team": "a"}, every_steps=5)
    done = train(hook, EvaluateAt(hook, 10), steps=10)
    [run] = mlflow.runs.values()
    assert mlflow.experiments["digits"] == run.experiment
    assert run.name == "run"
    assert run.data.params["learning_rate"] == "0.1"
    assert run.data.params["runconfig.save_summary_steps"] == "10"
    assert [step for step, _ in run.metrics["loss"]] == [1, 5, 10]
    assert run.metrics["eval/accuracy"] == [(10, 0.5)]
    assert run.status == "FINISHED"
    assert run.data.tags["team"] == "a"
    assert run.data.tags["model_dir"] == str(done.folder)


def test_services_are_told_where_the_newest_checkpoint_is(train, mlflow, wandb):
    done = train(hooks.MLflowLog(), hooks.WandbLog(), steps=3)
    [run] = mlflow.runs.values()
    assert run.data.tags["checkpoint"] == done.estimator.latest_checkpoint()
    [run] = wandb.runs.values()
    assert run.summary["checkpoint"] == done.estimator.latest_checkpoint()


def test_a_resumed_run_goes_on_with_the_same_run_and_sends_no_step_twice(train, mlflow):
    hook = hooks.MLflowLog(names="loss", every_steps=1)
    config = {"save_checkpoints_steps": 5}
    with pytest.raises(ZeroDivisionError):
        train(hook, FailAt(8), **config)
    [run] = mlflow.runs.values()
    assert run.status == "FAILED"
    assert run.data.tags["error"].startswith("ZeroDivisionError: on purpose")
    train(hooks.MLflowLog(names="loss", every_steps=1), max_steps=12, **config)
    [run] = mlflow.runs.values()
    assert [step for step, _ in run.metrics["loss"]] == list(range(1, 13))
    assert run.status == "FINISHED"
    assert "error" not in run.data.tags


class SignalAt(dovetail.Hook):
    def __init__(self, step):
        self.step = step

    def after_step(self, run, output):
        if run.step == self.step:
            signal.raise_signal(signal.SIGTERM)


def test_a_run_that_a_signal_ends_is_not_called_finished(train, mlflow, wandb):
    with pytest.raises(SystemExit, match="143"):
        train(hooks.MLflowLog(), hooks.WandbLog(), SignalAt(3))
    [run] = mlflow.runs.values()
    assert run.status == "KILLED"
    [run] = wandb.runs.values()
    assert (run.exit_code, run.preempted) == (1, True)


def test_a_run_that_begins_anew_says_that_its_steps_are_there_already(train, mlflow):
    with pytest.raises(ZeroDivisionError):
        train(hooks.MLflowLog(names="loss", every_steps=1), FailAt(4))
    done = train(hooks.MLflowLog(names="loss", every_steps=1), steps=6)
    assert "steps up to 4 are in MLflow already, as run 'run0'" in done.lines[0]
    [run] = mlflow.runs.values()
    assert [step for step, _ in run.metrics["loss"]] == [1, 2, 3, 4, 5, 6]


def test_a_param_that_changed_becomes_a_tag(train, mlflow):
    train(hooks.MLflowLog(), steps=2)
    train(hooks.MLflowLog(), steps=2, hole=0.25)
    [run] = mlflow.runs.values()
    assert run.data.params["hole"] == "0.0"
    assert run.data.tags["changed/hole"] == "0.25"


def test_a_service_that_fails_later_gets_what_it_missed(train, mlflow):
    class Outage(dovetail.Hook):
        def after_step(self, run, output):
            mlflow.down = 3 <= run.step <= 6

    hook = hooks.MLflowLog(names="loss", every_steps=1)
    hook._tracked._clock = lambda: 0.0  # an attempt takes no time
    done = train(Outage(), hook, steps=9)
    [run] = mlflow.runs.values()
    assert [step for step, _ in run.metrics["loss"]] == list(range(1, 10))
    assert len(done.lines) == 2
    assert "MLflow failed at step 3 (ConnectionError: no answer). Training goes on" in done.lines[0]
    assert "answers again at step 7" in done.lines[1]


def test_a_service_that_never_answers_again_does_not_end_the_training(train, mlflow):
    class Outage(dovetail.Hook):
        def after_step(self, run, output):
            mlflow.down = True

    done = train(Outage(), hooks.MLflowLog(names="loss", every_steps=1), steps=4)
    assert done.lines[1:] == ["hooks.MLflowLog: MLflow did not take the last 4 points."]
    assert len(done.steps) == 4


def test_a_service_that_is_slow_to_fail_is_left_alone_for_ten_times_as_long(train, mlflow):
    clock = SimpleNamespace(now=0.0, attempts=[])

    class Outage(dovetail.Hook):
        def after_step(self, run, output):
            clock.now, clock.step, mlflow.down = clock.now + 1, run.step, True

    def slow():
        if mlflow.down:
            clock.now += 2
            clock.attempts.append(clock.step)
            raise ConnectionError("no answer")

    mlflow._answer = slow
    hook = hooks.MLflowLog(names="loss", every_steps=1)
    hook._tracked._clock = lambda: clock.now
    train(Outage(), hook, steps=50)
    # 20 s of rest after each; at the end one more of each kind: points, state of the run.
    assert clock.attempts == [1, 21, 41, 50, 50]


def test_a_run_that_the_service_does_not_know_any_more_is_an_error_with_the_cure(train, mlflow):
    train(hooks.MLflowLog(), steps=1)
    mlflow.runs.clear()
    with pytest.raises(DovetailError, match=r"going on with 'run0'.*or remove .*mlflow_run\.json"):
        train(hooks.MLflowLog(), steps=1)


def test_an_active_run_is_used_and_left_open(train, mlflow):
    mlflow.active = mlflow.create_run("0")
    train(hooks.MLflowLog(), steps=1)
    [run] = mlflow.runs.values()
    assert run.status == "RUNNING"
    assert run.metrics


def test_wandb_gets_config_values_evaluations_and_the_end(train, wandb):
    hook = hooks.WandbLog("digits", mode="offline", names="loss", tags=["a"], every_steps=5)
    done = train(hook, EvaluateAt(hook, 10), steps=10)
    [run] = wandb.runs.values()
    assert run.given == {
        "project": "digits",
        "mode": "offline",
        "tags": ("a",),
        "name": "run",
        "dir": str(done.folder),
    }
    assert run.config.told["learning_rate"] == 0.1
    assert run.config.told["runconfig"]["save_summary_steps"] == 10
    assert [step for step, values in run.rows if "loss" in values] == [1, 5, 10]
    assert (10, {"eval/accuracy": 0.5, "global_step": 10}) in run.rows
    assert run.exit_code == 0
    assert json.loads((done.folder / "wandb_run.json").read_text()) == {
        "id": "w0",
        "sent": {"train": 10, "eval": 10},
    }


def test_a_resumed_run_goes_on_with_the_same_wandb_run(train, wandb):
    config = {"save_checkpoints_steps": 5}
    with pytest.raises(ZeroDivisionError):
        train(hooks.WandbLog(names="loss", every_steps=1), FailAt(8), **config)
    [run] = wandb.runs.values()
    assert run.exit_code == 1
    assert run.summary["error"].startswith("ZeroDivisionError: on purpose")
    train(hooks.WandbLog(names="loss", every_steps=1), max_steps=12, **config)
    [run] = wandb.runs.values()
    assert [step for step, _ in run.rows] == list(range(1, 13))
    assert run.exit_code == 0
    assert run.summary["error"] is None


def test_an_evaluation_that_comes_late_keeps_its_step(train, wandb):
    hook = hooks.WandbLog(names="loss", every_steps=1)
    train(hook, steps=1)
    run = wandb.runs["w0"]
    run.step = 9
    hook._tracked._service.log({"eval/loss": 0.5}, 7)
    assert run.rows[-1] == (9, {"eval/loss": 0.5, "global_step": 7})


def test_an_active_wandb_run_is_used_and_left_open(train, wandb):
    wandb.run = FakeWandbRun("mine")
    train(hooks.WandbLog(), steps=1)
    assert wandb.run.rows
    assert wandb.run.exit_code is None
    assert wandb.runs == {}


@pytest.mark.parametrize(
    ("hook", "package"), [(hooks.MLflowLog, "mlflow"), (hooks.WandbLog, "wandb")]
)
def test_a_package_that_is_not_installed_is_named_with_the_command(
    train, monkeypatch, hook, package
):
    monkeypatch.setitem(sys.modules, package, None)  # what a failed import leaves
    with pytest.raises(ParamsError, match=f"{hook.__name__} needs .*: pip install {package}"):
        train(hook())


def test_a_broken_file_of_the_id_is_an_error_with_the_cure(train, mlflow, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mlflow_run.json").write_text("{")
    with pytest.raises(ParamsError, match=r"mlflow_run\.json does not hold .*; remove it"):
        train(hooks.MLflowLog())


def test_importing_the_hooks_imports_neither():
    assert "mlflow" not in sys.modules
    assert "wandb" not in sys.modules

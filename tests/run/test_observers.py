"""Who is told what, and when, while a run trains."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dovetail.errors import NanLossError
from dovetail.run.event_files import event_files, read_events
from dovetail.run.goodput import Goodput
from dovetail.run.hooks import Hook, Hooks, Run
from dovetail.run.observers import Observers, failure_told, failure_written
from dovetail.run.summaries import SummaryWriter


class Told:
    """Takes down every call of it: (what, arguments)."""

    def __init__(self, name: str, calls: list[tuple]) -> None:
        self._name, self._calls = name, calls

    def __getattr__(self, method: str):
        def call(*args: object, **kwargs: object) -> None:
            self._calls.append((f"{self._name}.{method}", *args))

        return call


class Looks(Hook):
    def __init__(self, calls: list[tuple]) -> None:
        self.calls = calls

    def after_step(self, run, output):
        self.calls.append(("hook.after_step", run.step))

    def after_save(self, run, path):
        self.calls.append(("hook.after_save", path.name))

    def after_evaluate(self, run, name, metrics):
        self.calls.append(("hook.after_evaluate", name, metrics))

    def on_error(self, run, error):
        self.calls.append(("hook.on_error", str(error)))


@pytest.fixture
def calls() -> list[tuple]:
    return []


@pytest.fixture
def run(tmp_path) -> Run:
    program = SimpleNamespace(learning_rate=0.5)
    return Run(program, tmp_path, step=7, position=56)  # type: ignore[arg-type]


@pytest.fixture
def look(run, calls) -> Observers:
    return Observers(
        run,
        hooks=Hooks([Looks(calls)]),
        listeners=[Told("listener", calls)],
        progress=Told("progress", calls),  # type: ignore[arg-type]
        heart=Told("heart", calls),  # type: ignore[arg-type]
        goodput=Goodput(),
        writer=Told("writer", calls),  # type: ignore[arg-type]
    )


def test_after_a_step_all_are_told_and_hooks_last(look, calls):
    look.before_step({"x": 1}, None, 8)
    look.after_step({}, torch.tensor(0.5), summary=False)
    assert [call[0] for call in calls] == ["progress.step", "heart.beat", "hook.after_step"]
    assert calls[0][1:3] == (7, 8)
    assert calls[1][1:] == ("training", 7)


def test_each_whole_checkpoint_is_told_of_with_its_own_step(look, calls, tmp_path):
    paths = [tmp_path / "0000000003", tmp_path / "0000000005"]
    look.saved(paths)
    told = [call for call in calls if call[0] in ("progress.saved", "listener.after_save")]
    assert told == [
        ("progress.saved", 3),
        ("listener.after_save", paths[0], 3),
        ("progress.saved", 5),
        ("listener.after_save", paths[1], 5),
    ]
    assert [call[1] for call in calls if call[0] == "hook.after_save"] == [p.name for p in paths]


def test_each_evaluation_is_told_of_and_training_goes_on(look, calls):
    look.evaluating()
    look.evaluated([("", {"loss": 0.5}), ("hard", {"loss": 0.75})])
    assert ("heart.beat", "evaluating", 7) in calls
    assert [call[1:] for call in calls if call[0] == "hook.after_evaluate"] == [
        ("", {"loss": 0.5}),
        ("hard", {"loss": 0.75}),
    ]
    assert ("heart.evaluated", "hard", 7, {"loss": 0.75}) in calls
    assert [call for call in calls if call[0] == "heart.beat"][-1] == ("heart.beat", "training", 7)


def test_an_error_is_told_to_the_hooks_with_the_checkpoint_that_is_kept(run, calls, tmp_path):
    with pytest.raises(NanLossError, match="The last good checkpoint is"):
        with failure_told(Hooks([Looks(calls)]), run, lambda: tmp_path / "0000000005"):
            raise NanLossError("The loss is nan at step 8.", 8)
    assert calls == [
        (
            "hook.on_error",
            f"The loss is nan at step 8. The last good checkpoint is {tmp_path / '0000000005'}.",
        )
    ]


def test_an_error_of_a_step_that_is_past_says_how_to_find_out_more(run, tmp_path):
    late = "parameters of step 7 were gone when this was seen: run again with finite_checks='all'"
    with pytest.raises(NanLossError, match=late), failure_told(Hooks([]), run, lambda: tmp_path):
        raise NanLossError("The loss is nan at step 7.", 7)


@pytest.mark.parametrize(("error", "written"), [(ValueError, 1), (KeyboardInterrupt, 0)])
def test_an_error_ends_the_session_in_the_event_log_and_a_signal_does_not(
    run, tmp_path, error, written
):
    with SummaryWriter(tmp_path, start_step=0) as writer:
        with pytest.raises(error), failure_written(writer, run):
            raise error
    tags = [
        value.tag
        for path in event_files(tmp_path)
        for _, _, event in read_events(path)
        for value in event.summary.value
    ]
    assert tags.count("_hparams_/session_end_info") == written

"""The heartbeat file: when it is written, what is in it, and that it never stops a run."""

from __future__ import annotations

import json
import os
import resource

import pytest
import torch

from dovetail.run.goodput import Goodput
from dovetail.run.heartbeat import FILE, Heartbeat, read
from dovetail.run.process_identity import Process, this_process


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Unread:
    """A loss that nobody may read yet."""

    def __float__(self) -> float:
        raise AssertionError("the loss was fetched from the device")


def test_it_is_written_when_it_is_due_and_at_a_new_state(tmp_path, clock):
    heartbeat = Heartbeat(tmp_path, 10, clock=clock)
    written = []
    for second in range(61):
        clock.now = float(second)
        state = "evaluating" if second == 45 else "training"
        heartbeat.beat(state, second)
        written.append(read(tmp_path)["step"])
    assert sorted(set(written)) == [0, 1, 2, 4, 8, 16, 26, 36, 45, 46, 56]


def test_a_learning_rate_is_asked_for_only_when_it_is_written(tmp_path, clock):
    asked = []
    heartbeat = Heartbeat(tmp_path, 10, clock=clock)
    clock.now = 100.0
    for step in range(100):
        heartbeat.beat("training", step, learning_rate=lambda: asked.append(1) or 0.25)
    assert len(asked) == 1
    assert read(tmp_path)["learning_rate"] == 0.25


def test_a_loss_is_read_only_when_it_is_written(tmp_path, clock):
    heartbeat = Heartbeat(tmp_path, 10, clock=clock)
    heartbeat.beat("training", 1, loss=torch.tensor(0.5))
    heartbeat.beat("training", 2, loss=Unread())
    clock.now = 11.0
    with pytest.raises(AssertionError):
        heartbeat.beat("training", 3, loss=Unread())


def test_it_says_what_a_reader_needs(tmp_path, clock):
    goodput = Goodput(clock)
    heartbeat = Heartbeat(tmp_path, 10, clock=clock, time_of_day=lambda: 1000.0 + clock.now)
    heartbeat.beat("starting", 100, last_step=500, goodput=goodput)
    goodput.switch("step")
    for step in range(101, 151):
        clock.now += 1.0
        heartbeat.beat("training", step, loss=2.0, position=step * 8, learning_rate=0.1)
    heartbeat.saved(140, tmp_path / "checkpoints" / "0000000140")
    heartbeat.evaluated("", 140, {"accuracy": 0.75, "confusion": [1, 2]})
    heartbeat.close("done", "hook")
    found = read(tmp_path)
    assert Process.from_dict(found["process"]) == this_process()
    assert (found["state"], found["why"]) == ("done", "hook")
    assert (found["first_step"], found["step"], found["last_step"]) == (100, 150, 500)
    assert (found["loss"], found["learning_rate"], found["position"]) == (2.0, 0.1, 1200)
    assert found["steps_per_sec"] == pytest.approx(1.0)
    assert found["examples_per_sec"] == pytest.approx(8.0)
    assert found["goodput"] == {"setup": 0.0, "step": 50.0}
    assert found["checkpoint"]["step"] == 140
    assert found["evaluations"][""]["metrics"] == {"accuracy": 0.75}
    assert (found["started"], found["time"]) == (1000.0, 1050.0)


def test_the_last_step_is_said_though_it_was_not_due(tmp_path, clock):
    heartbeat = Heartbeat(tmp_path, 10, clock=clock)
    heartbeat.beat("training", 1, loss=4.0)
    heartbeat.beat("training", 2, loss=3.0)
    heartbeat.close("done", "max_steps")
    found = read(tmp_path)
    assert (found["step"], found["loss"]) == (2, 3.0)


@pytest.mark.parametrize(
    ("error", "state", "why"),
    [
        (KeyboardInterrupt(), "signal", "SIGINT"),
        (SystemExit(143), "signal", "SIGTERM"),
        (SystemExit(3), "error", "SystemExit: 3"),
        (ValueError("the batch is odd"), "error", "ValueError: the batch is odd"),
    ],
)
def test_an_exception_says_how_the_run_ended(tmp_path, error, state, why):
    heartbeat = Heartbeat(tmp_path, 10)
    heartbeat.beat("training", 1)
    with pytest.raises(type(error)), heartbeat:
        raise error
    assert (read(tmp_path)["state"], read(tmp_path)["why"]) == (state, why)


def test_the_first_end_counts_and_nothing_follows_it(tmp_path):
    heartbeat = Heartbeat(tmp_path, 10)
    heartbeat.beat("training", 7)
    heartbeat.close("done", "max_steps")
    heartbeat.beat("training", 8)
    heartbeat.close("error", "late")
    with pytest.raises(SystemExit), heartbeat:
        raise SystemExit(143)
    found = read(tmp_path)
    assert (found["state"], found["why"], found["step"]) == ("done", "max_steps", 7)


def test_one_that_is_switched_off_leaves_nothing(tmp_path):
    with Heartbeat(tmp_path, 0) as heartbeat:
        heartbeat.beat("training", 1, loss=Unread())
        heartbeat.saved(1)
        heartbeat.evaluated("", 1, {})
    assert os.listdir(tmp_path) == []


def test_a_loss_that_is_not_finite_is_text_that_every_reader_takes(tmp_path):
    with Heartbeat(tmp_path, 10) as heartbeat:
        heartbeat.beat("training", 1, loss=float("nan"))

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    text = (tmp_path / FILE).read_text()
    assert json.loads(text, parse_constant=refuse)["loss"] == "NaN"


def test_a_disk_that_cannot_be_written_is_noted_once_and_stops_nothing(tmp_path, clock):
    notes: list[str] = []
    heartbeat = Heartbeat(tmp_path / "gone", 10, note=notes.append, clock=clock)
    for step in range(5):
        clock.now += 20.0
        heartbeat.beat("training", step)
    heartbeat.close("done")
    assert len(notes) == 1
    assert "heartbeat.json can't be written: No such file or directory" in notes[0]


def test_a_disk_that_is_full_leaves_the_heartbeat_before(tmp_path, clock):
    notes: list[str] = []
    heartbeat = Heartbeat(tmp_path, 10, note=notes.append, clock=clock)
    heartbeat.beat("training", 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))  # a write fails half-way
    try:
        clock.now += 20.0
        heartbeat.beat("training", 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read(tmp_path)["step"] == 1
    assert os.listdir(tmp_path) == [FILE]
    assert len(notes) == 1
    heartbeat.close("done")
    assert read(tmp_path)["step"] == 2


def test_an_accelerator_that_failed_hides_no_error(tmp_path):
    class Broken:
        def __float__(self) -> float:
            raise RuntimeError("an illegal memory access was encountered")

    heartbeat = Heartbeat(tmp_path, 10)
    heartbeat.beat("training", 1, loss=Broken())
    with pytest.raises(ValueError), heartbeat:
        raise ValueError("the first error")
    assert read(tmp_path)["why"] == "ValueError: the first error"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": 3}'])
def test_a_file_that_is_no_heartbeat_is_none(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert read(tmp_path) is None

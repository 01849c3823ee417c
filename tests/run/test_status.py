"""How a run stands, told of processes that run, have ended, were killed, or can't be seen."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time

import pytest
import torch

from dovetail.errors import DovetailError
from dovetail.run import checkpoint, lock, provenance
from dovetail.run.heartbeat import FILE, Heartbeat
from dovetail.run.process_identity import this_process
from dovetail.run.status import status
from dovetail.run.summaries import SummaryWriter

BEATS = """
import sys
from dovetail.run.heartbeat import Heartbeat
heartbeat = Heartbeat(sys.argv[1], 10)
heartbeat.beat("training", 7, loss=0.5, last_step=100)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def beaten(tmp_path):
    """A model_dir in which this process trains, as it says, and a way to change what it says."""
    heartbeat = Heartbeat(tmp_path, 10)
    heartbeat.beat("training", 7, loss=0.5, learning_rate=0.1, position=56, last_step=100)

    def change(**values: object) -> None:
        said = json.loads((tmp_path / FILE).read_text())
        (tmp_path / FILE).write_text(json.dumps({**said, **values}))

    return tmp_path, change


def elsewhere() -> dict[str, object]:
    return dataclasses.replace(this_process(), host="another-machine").to_dict()


def test_a_process_that_was_killed_did_not_end(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", BEATS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        running = status(tmp_path)
        process.kill()
        process.wait()
        killed = status(tmp_path)
    assert (running.standing, running.fine, running.here) == ("running", True, True)
    assert (killed.standing, killed.fine) == ("killed", False)
    assert (killed.step, killed.last_step, killed.loss) == (7, 100, 0.5)


@pytest.mark.parametrize(
    ("end", "standing", "fine"),
    [
        (("done", "max_steps"), "done", True),
        (("signal", "SIGTERM"), "stopped", True),
        (("error", "NanLossError: The loss is nan"), "failed", False),
    ],
)
def test_an_end_is_told_as_the_run_told_it(tmp_path, end, standing, fine):
    heartbeat = Heartbeat(tmp_path, 10)
    heartbeat.beat("training", 7)
    heartbeat.close(*end)
    found = status(tmp_path)
    assert (found.standing, found.fine, found.why) == (standing, fine, end[1])
    assert found.left_secs is None


def test_a_live_run_without_steps_for_long_is_stuck(beaten):
    folder, change = beaten
    now = time.time()
    assert status(folder, now=now + 30).standing == "running"
    assert status(folder, now=now + 90).standing == "stuck"
    change(steps_per_sec=0.1)
    assert status(folder, now=now + 90).standing == "running", "its steps take ten seconds each"
    assert status(folder, now=now + 300).standing == "stuck"
    change(state="evaluating")
    assert status(folder, now=now + 3600).standing == "running", "an evaluation may take long"


def test_a_run_elsewhere_is_known_by_its_heartbeat_alone(beaten):
    folder, change = beaten
    change(process=elsewhere())
    now = time.time()
    near, late = status(folder, now=now + 5), status(folder, now=now + 90)
    assert (near.standing, near.here, near.fine) == ("running", False, True)
    assert (late.standing, late.fine) == ("silent", False)


def test_time_left_is_counted_from_the_last_heartbeat(beaten):
    folder, change = beaten
    change(steps_per_sec=2.0, time=1000.0)
    assert status(folder, now=1000.0).left_secs == pytest.approx((100 - 7) / 2)
    assert status(folder, now=1006.5).left_secs == pytest.approx(40.0)
    assert status(folder, now=1055.0).left_secs == 0.0


def test_the_newest_of_what_is_told_and_what_is_logged_is_shown(tmp_path):
    heartbeat = Heartbeat(tmp_path, 10)
    heartbeat.evaluated("", 20, {"accuracy": 0.5})
    heartbeat.evaluated("hard", 20, {"accuracy": 0.25})
    heartbeat.beat("training", 21)
    for step, accuracy in ((10, 0.125), (20, 0.25), (30, 0.75)):
        with SummaryWriter(tmp_path / "eval_hard", replace_step=step) as writer:
            writer.scalars({"accuracy": accuracy}, step)
    with SummaryWriter(tmp_path / "eval") as writer:
        writer.scalars({"accuracy": 0.0}, 10)
    assert status(tmp_path).evaluations == {
        "": {"step": 20, "metrics": {"accuracy": 0.5}},
        "hard": {"step": 30, "metrics": {"accuracy": 0.75}},
    }


def test_without_a_heartbeat_the_rest_is_still_told(tmp_path):
    provenance.record(tmp_path, params={}, origins={}, files=[], command=["train"], seed=0)
    checkpoint.save(tmp_path, 40, {"w": torch.ones(1)}, {}, {})
    with SummaryWriter(tmp_path, start_step=0) as writer:
        for step in range(1, 46):
            writer.scalars({"loss": 1 / step, "learning_rate": 0.5}, step)
    found = status(tmp_path)
    assert (found.standing, found.fine) == ("unknown", False)
    assert (found.step, found.learning_rate, found.command) == (45, 0.5, ["train"])
    assert found.loss == pytest.approx(1 / 45)


@pytest.mark.parametrize("name", ["empty", "not-there"])
def test_a_folder_without_a_run_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DovetailError, match="Name a model_dir"):
        status(tmp_path / name)


def test_a_heartbeat_of_another_version_is_read_as_far_as_it_goes(tmp_path):
    (tmp_path / FILE).write_text(json.dumps({"state": "training", "time": time.time()}))
    found = status(tmp_path)
    assert (found.standing, found.process, found.step) == ("running", None, None)


def test_a_lock_tells_of_a_run_that_keeps_no_heartbeat(tmp_path):
    checkpoint.save(tmp_path, 4, {"w": torch.ones(1)}, {}, {})
    with lock.held(tmp_path, print):
        running = status(tmp_path)
    ended = status(tmp_path)
    said = json.loads((tmp_path / lock.NAME).read_text())
    del said["ended"]
    (tmp_path / lock.NAME).write_text(json.dumps(said))
    killed = status(tmp_path)
    (tmp_path / lock.NAME).write_text(json.dumps({**said, "host": "another-machine"}))
    elsewhere = status(tmp_path)
    assert (running.standing, running.process["pid"]) == ("running", os.getpid())
    assert (ended.standing, ended.why) == (
        "unknown",
        "it ended by itself; it kept no heartbeat that says how",
    )
    assert (killed.standing, elsewhere.standing) == ("killed", "unknown")


def test_a_run_that_has_just_begun_is_not_taken_for_the_one_before(tmp_path):
    with Heartbeat(tmp_path, 10) as heartbeat:
        heartbeat.beat("training", 7)
        heartbeat.close("error", "ValueError: of the run before")
    assert status(tmp_path).standing == "failed"
    with lock.held(tmp_path, print):
        assert (status(tmp_path).standing, status(tmp_path).why) == ("running", "")
        Heartbeat(tmp_path, 10).beat("starting", 7)
        assert status(tmp_path).doing == "starting"


def test_a_lock_that_is_held_speaks_for_a_process_that_cannot_be_looked_at(beaten):
    folder, change = beaten
    change(process=elsewhere(), time=time.time() + 1)
    with lock.held(folder, print):
        assert status(folder, now=time.time() + 100).standing == "stuck"
    assert status(folder, now=time.time() + 100).standing == "silent"


def test_what_was_meant_is_named(tmp_path):
    for name in ("first", "second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        Heartbeat(tmp_path / "runs" / name, 10).beat("training", 1)
    with pytest.raises(DovetailError, match=r"there are some in \S+runs/first, \S+runs/second\."):
        status(tmp_path / "runs")
    with pytest.raises(DovetailError, match=r"is no folder\. Did you mean 'second'\?"):
        status(tmp_path / "runs" / "secnd")

"""Traces of torch's profiler."""

from __future__ import annotations

import json

import pytest

from dovetail import hooks
from dovetail.errors import ParamsError


def test_the_trace_of_the_active_steps_and_the_table_are_written(train):
    done = train(hooks.Profile(wait=3, warmup=1, active=2), steps=8)
    folder = done.folder / "profile"
    assert sorted(p.name for p in folder.iterdir()) == ["ops_5_6.txt", "trace_5_6.json"]
    events = json.loads((folder / "trace_5_6.json").read_text())["traceEvents"]
    names = [event.get("name", "") for event in events]
    assert names.count("aten::addmm") + names.count("aten::linear") >= 2
    backward = [n for n in names if n.startswith("autograd::engine::evaluate_function")]
    assert backward
    table = (folder / "ops_5_6.txt").read_text()
    assert "Self CPU" in table
    assert "aten::" in table
    assert done.lines == [f"Profile: steps 5 to 6 are in {folder / 'trace_5_6.json'}"]


def test_only_the_active_steps_are_in_the_trace(train):
    def forwards(name, last):
        trace = done.folder / f"profile/trace_3_{last}.json"
        events = json.loads(trace.read_text())["traceEvents"]
        return sum(event.get("name") == "aten::addmm" for event in events)

    done = train(hooks.Profile(wait=0, warmup=2, active=1), steps=6, name="one")
    once = forwards("one", 3)
    done = train(hooks.Profile(wait=0, warmup=2, active=3), steps=6, name="three")
    assert forwards("three", 5) == 3 * once > 0


def test_several_traces_are_taken(train):
    done = train(hooks.Profile(wait=1, warmup=1, active=1, repeat=2), steps=10)
    traces = sorted(p.name for p in (done.folder / "profile").glob("*.json"))
    assert traces == ["trace_3_3.json", "trace_6_6.json"]


def test_a_run_that_ends_before_says_so_and_writes_nothing(train):
    done = train(hooks.Profile(wait=3, warmup=1, active=4), steps=6)
    assert not (done.folder / "profile").exists()
    assert "ended after 6 of the 8 steps" in done.lines[0]


def test_a_run_that_fails_leaves_no_profiler_running(train):
    def fails(run, output):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(hooks.Profile(wait=0, warmup=1, active=9), hooks.StopWhen(fails, every_secs=1e-9))
    done = train(hooks.Profile(wait=0, warmup=1, active=1), name="next")
    assert (done.folder / "profile/trace_2_2.json").exists()


def test_a_trace_that_can_not_be_written_ends_no_training(train, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "profile").write_text("a file in the way")
    done = train(hooks.Profile(wait=0, warmup=1, active=1), steps=4)
    assert len(done.steps) == 4
    assert "the trace can't be written" in done.lines[0]


def test_no_warmup_is_refused():
    with pytest.raises(ParamsError, match="warmup=0; it must be at least 1"):
        hooks.Profile(warmup=0)

"""Hooks that end a run."""

from __future__ import annotations

import itertools
import time
from datetime import datetime

import pytest

import dovetail
from dovetail import hooks
from dovetail.errors import ParamsError
from dovetail.run.checkpoint import latest, load


class Clock:
    """Goes on by so much at each look, and by more in one step."""

    def __init__(self, ticks):
        self.ticks = itertools.chain(ticks, itertools.repeat(1.0))
        self.now = 1000.0

    def __call__(self):
        self.now += next(self.ticks)
        return self.now


def test_a_run_ends_at_the_global_step_and_saves_its_state(train):
    done = train(hooks.StopAtStep(7), steps=None)
    assert done.steps[-1] == 7
    assert done.why == "StopAtStep: step 7 is reached"
    assert load(latest(done.folder)).step == 7


def test_steps_count_from_where_the_run_goes_on(train):
    train(steps=5)
    assert train(hooks.StopAtStep(steps=3), steps=None).steps == [6, 7, 8]


@pytest.mark.parametrize("given", [{}, {"last_step": 3, "steps": 2}])
def test_stop_at_step_takes_one_of_its_two_arguments(given):
    with pytest.raises(ParamsError, match="give one of them"):
        hooks.StopAtStep(**given)


@pytest.mark.parametrize("last_step", [0, -1, True, 2.5, "7"])
def test_a_step_that_is_none_is_refused(last_step):
    with pytest.raises(ParamsError, match=r"hooks\.StopAtStep: last_step"):
        hooks.StopAtStep(last_step)


def test_a_run_ends_when_the_condition_holds(train):
    done = train(hooks.StopWhen(lambda run, output: output["loss"] < 0.5, "low"), steps=None)
    assert done.why == "low"
    assert 1 < done.steps[-1] < 100


def test_a_condition_is_asked_only_where_it_is_due(train):
    asked = []
    train(hooks.StopWhen(lambda run, output: asked.append(run.step), every_steps=6))
    assert asked == [1, 6, 12, 18]


def test_a_condition_must_be_a_function():
    with pytest.raises(ParamsError, match="condition must be a function"):
        hooks.StopWhen("loss < 1")


def test_a_time_ends_before_the_margin(train):
    hook = hooks.StopAfter(secs=20, margin_secs=5, clock=Clock([]))
    done = train(hook, steps=None)
    # 1 second a look, one look a step: 14 steps leave 6 seconds, which are margin and one step.
    assert done.steps[-1] == 14
    assert "StopBefore: 6 seconds are left" in done.why


def test_the_slowest_time_between_steps_counts_towards_the_margin(train):
    hook = hooks.StopAfter(secs=30, margin_secs=5, clock=Clock([1, 1, 1, 10]))
    assert train(hook, steps=None).steps[-1] == 6  # of 30, 15 are gone: 5 and 10 are kept


def test_the_first_step_may_be_slow(train):
    hook = hooks.StopAfter(secs=100, margin_secs=0, clock=Clock([1, 50]))
    assert train(hook, steps=None).steps[-1] == 50


def test_a_moment_ends_a_run(train):
    now = time.time()
    assert train(hooks.StopBefore(now + 3, margin_secs=3), steps=None).steps == [1]
    later = datetime.fromtimestamp(now + 86400)
    assert len(train(hooks.StopBefore(later), steps=3).steps) == 3


def test_the_end_of_a_slurm_job_is_known():
    assert hooks.StopBefore(environment={"SLURM_JOB_END_TIME": "1800000000"}).when == 1.8e9
    with pytest.raises(ParamsError, match="SLURM_JOB_END_TIME is not set"):
        hooks.StopBefore(environment={})
    with pytest.raises(ParamsError, match="SLURM_JOB_END_TIME='soon'"):
        hooks.StopBefore(environment={"SLURM_JOB_END_TIME": "soon"})


def test_a_time_must_be_given_and_outlast_its_margin():
    with pytest.raises(ParamsError, match="give a time"):
        hooks.StopAfter()
    with pytest.raises(ParamsError, match="margin_secs=60 leaves nothing of the 30 seconds"):
        hooks.StopAfter(secs=30, margin_secs=60)
    with pytest.raises(ParamsError, match="hours=-1; it must be at least 0 hours"):
        hooks.StopAfter(hours=-1)


def test_a_file_ends_a_run(train):
    class Touch(dovetail.Hook):
        def after_step(self, run, output):
            if run.step == 4:
                (run.model_dir / "STOP").touch()

    done = train(Touch(), hooks.StopOnNotice("STOP", every_secs=1e-9), steps=None)
    assert done.steps[-1] == 4
    assert done.why.endswith("STOP is there")


def test_a_function_ends_a_run(train):
    told = iter([False, False, True])

    def preempted():
        return next(told)

    done = train(hooks.StopOnNotice(preempted, every_secs=1e-9), steps=None)
    assert done.steps[-1] == 3
    assert done.why == "StopOnNotice: preempted says so"


def test_a_notice_is_a_path_or_a_function():
    with pytest.raises(ParamsError, match="notice must be a path or a function"):
        hooks.StopOnNotice(3)

"""Lines of values."""

from __future__ import annotations

import re

import pytest

import dovetail
from dovetail import hooks
from dovetail.errors import ParamsError


def test_the_first_step_every_multiple_and_the_last_are_shown(train):
    lines = train(hooks.Log(["loss"], every_steps=8, at_end=True)).lines
    assert [int(re.match(r"step (\d+): loss \d", line)[1]) for line in lines] == [1, 8, 16, 20]


def test_without_names_the_loss_rate_metrics_and_scalar_summaries_are_shown(train):
    [line] = train(hooks.Log(), steps=1).lines
    assert re.fullmatch(
        r"step 1: loss [\d.]+  learning_rate 0.1  error [\d.]+  spread [\d.e-]+", line
    )


def test_a_value_is_that_of_the_step(train):
    seen = []
    log = hooks.Log("loss", every_steps=5, text=lambda step, v: f"{step} {v['loss']!r}")

    class Loss(hooks.StopAtStep):
        def after_step(self, run, output):
            super().after_step(run, output)
            seen.append(f"{run.step} {output['loss'].item()!r}")

    lines = train(log, Loss(10), steps=None).lines
    assert lines == [seen[0], seen[4], seen[9]]


def test_tensors_parameters_and_positions_are_shown_by_name(train):
    [line] = train(hooks.Log(["y", "line.weight", "position"]), steps=1).lines
    assert re.fullmatch(r"(?s)step 1: y \[\[.*\]\]  line.weight [-\d.]+  position 8", line)


def test_the_rate_is_that_since_the_last_line(train):
    log, looks = hooks.Log("examples_per_sec", every_steps=5), iter([0.0, 1.0, 3.0])
    log._values._clock = lambda: next(looks)
    lines = train(log, steps=5).lines
    assert [line.split("(")[0].strip() for line in lines] == [
        "step 1: examples_per_sec 8",
        "step 5: examples_per_sec 16",
    ]


def test_a_name_that_is_not_there_is_an_error_that_lists_what_is(train):
    with pytest.raises(ParamsError, match=r"no 'eror' .* Did you mean 'error'\?.*line.weight"):
        train(hooks.Log("eror"))


class OnlyAtSummarySteps(dovetail.Hook):
    """Takes away what an execution may leave out between summary steps."""

    def after_step(self, run, output):
        if not run.program.network.summary_step:
            del output["summaries"], output["metrics"]


def test_what_is_not_there_between_summary_steps_is_left_out_and_said_once(train):
    log = hooks.Log(["loss", "spread", "error"], every_steps=4)
    lines = train(OnlyAtSummarySteps(), log, save_summary_steps=20).lines
    assert [("spread" in line, "error" in line) for line in lines if line.startswith("step")] == [
        (True, True),
        *[(False, False)] * 4,
        (True, True),
    ]
    said = [line for line in lines if "save_summary_steps" in line]
    assert len(said) == 2
    assert "(1 and each multiple of 20)" in said[0]


def test_seconds_count_where_they_are_asked_for(train):
    assert len(train(hooks.Log("loss", every_secs=1000)).lines) == 1


def test_both_steps_and_seconds_are_refused():
    with pytest.raises(ParamsError, match="every_steps=1 and every_secs=2.0; give one"):
        hooks.Log(every_steps=1, every_secs=2.0)


def test_a_hook_may_be_used_again(train):
    log = hooks.Log("loss", every_steps=10)
    assert len(train(log, name="a").lines) == len(train(log, name="b").lines) == 3


def test_batches_of_an_evaluation_are_counted(train, input_fn, capsys):
    estimator = train(steps=1).estimator
    estimator.evaluate(input_fn, steps=12, hooks=[hooks.Log("loss", every_steps=5)])
    assert capsys.readouterr().err.count("loss") == 3

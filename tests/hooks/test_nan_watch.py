"""Outputs that are not finite."""

from __future__ import annotations

import pytest
import torch

import dovetail
from dovetail import hooks
from dovetail.errors import NanLossError, ParamsError
from dovetail.run.hooks import Run


def test_the_first_output_that_is_not_finite_is_named_with_its_step(train):
    # 'odd' is log(x - hole): nan where x < hole, -inf at it, while the loss stays finite.
    with pytest.raises(
        NanLossError, match=r"'odd' of shape \[8, 1\] is not finite at step 1: "
    ) as e:
        train(hooks.NanWatch(), hole=0.75)
    assert e.value.step == 1


def test_the_values_that_are_not_finite_are_counted(train, input_fn):
    x = torch.as_tensor(input_fn()[0][0]["x"])
    wrong = int((~torch.isfinite(torch.log(x - 0.75))).sum())
    with pytest.raises(NanLossError, match=f": {wrong} of its 8 values"):
        train(hooks.NanWatch("odd"), hole=0.75)


def test_only_named_outputs_are_looked_at(train):
    assert len(train(hooks.NanWatch(["y", "loss"]), hole=0.75).steps) == 20


def test_a_run_may_end_with_its_state_saved_instead(train):
    done = train(hooks.NanWatch(fail=False), hole=0.75)
    assert done.steps == [1]
    assert done.why.startswith("NanWatch: 'odd' of shape [8, 1]")
    assert done.lines[0].endswith("The run ends.")
    assert dovetail.Estimator.latest_checkpoint(done.estimator).endswith("1")


def test_names_are_looked_at_in_their_order(train):
    class Spoil(dovetail.Hook):
        def after_step(self, run, output):
            output["predictions"]["y"] = torch.full((3,), torch.nan)

    with pytest.raises(NanLossError, match="'y' of shape"):
        train(Spoil(), hooks.NanWatch(["y", "odd"]), hole=0.75)


def test_a_name_that_is_not_there_is_an_error(train):
    with pytest.raises(ParamsError, match="no 'lss' .* Did you mean 'loss'"):
        train(hooks.NanWatch("lss"))


def test_results_of_an_accelerator_are_fetched_together(train, monkeypatch):
    program = train(steps=1).program
    run, watch = Run(program, "", 0), hooks.NanWatch("loss", every_steps=3)
    monkeypatch.setattr(torch, "isfinite", lambda t: torch.ones(t.shape, dtype=bool, device="meta"))
    watch.begin(run)
    for run.step in (1, 2):
        watch.after_step(run, {"loss": torch.tensor(1.0)})
    assert len(watch._waiting) == 2  # a meta tensor's value can't be had: none was asked for

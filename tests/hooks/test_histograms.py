"""Histograms of parameters, gradients and updates."""

from __future__ import annotations

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dovetail
from dovetail import hooks
from dovetail.errors import ParamsError
from dovetail.run.summaries import read_scalars


def histograms(folder):
    events = EventAccumulator(str(folder), size_guidance={"histograms": 0}).Reload()
    return {
        tag: [(e.step, e.histogram_value) for e in events.Histograms(tag)]
        for tag in events.Tags()["histograms"]
    }


def test_parameters_gradients_and_updates_are_written(train):
    seen = {}

    class Look(dovetail.Hook):
        def before_step(self, run):
            seen["before"] = run.program.state()["line.weight"].item()

        def after_step(self, run, output):
            weight = run.program.network.get_parameter("line.weight")
            seen[run.step] = (seen["before"], weight.item(), weight.grad.item())

    done = train(Look(), hooks.Histograms(every_steps=10))
    found = histograms(done.folder)
    for kind in ("parameters", "gradients", "updates"):
        for name in ("line.weight", "line.bias"):
            assert [step for step, _ in found[f"{kind}/{name}"]] == [1, 10, 20]
    for index, step in enumerate((1, 10, 20)):
        before, after, gradient = seen[step]
        assert found["parameters/line.weight"][index][1].sum == pytest.approx(after)
        assert found["gradients/line.weight"][index][1].sum == pytest.approx(gradient)
        assert found["updates/line.weight"][index][1].sum == pytest.approx(
            -0.1 * gradient, rel=1e-4
        )
        ratio = read_scalars(done.folder)["update_ratio/line.weight"][index]
        assert ratio == (step, pytest.approx(abs((after - before) / before), rel=1e-5))


def test_parameters_are_chosen_by_patterns_and_kinds_left_out(train):
    done = train(hooks.Histograms("*.bias", gradients=False, updates=False), steps=2)
    assert [tag for tag in histograms(done.folder) if "/line" in tag] == ["parameters/line.bias"]


def test_training_is_the_same_with_and_without(train):
    one = train(hooks.Histograms(every_steps=1), name="one").estimator
    other = train(name="other").estimator
    for name in ("line.weight", "line.bias"):
        assert one.get_variable_value(name) == other.get_variable_value(name)


def test_a_large_tensor_is_sampled():
    hook = hooks.Histograms(sample=100)
    taken = hook._taken(torch.arange(1050.0).reshape(35, 30))
    assert len(taken) == 96
    assert taken[:3].tolist() == [0, 11, 22]
    assert hook._taken(torch.empty(0)).shape == (0,)


def test_a_pattern_without_a_parameter_is_an_error(train):
    with pytest.raises(ParamsError, match=r"no parameter matches 'lin\.weight'\. Did you mean"):
        train(hooks.Histograms(["line.*", "lin.weight"]))

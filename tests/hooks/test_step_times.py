"""How long steps take."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import torch

from dovetail import hooks
from dovetail.hooks.durations import Durations
from dovetail.hooks.step_times import _percentile
from dovetail.run.goodput import Goodput
from dovetail.run.hooks import Hook
from dovetail.run.summaries import read_scalars


class Clock:
    """Step k takes k ms, and 100 ms pass between steps."""

    def __init__(self):
        self.now, self.looks = 0.0, 0

    def __call__(self):
        return self.now


class Pass(Hook):
    def __init__(self, clock):
        self.clock = clock

    def after_step(self, run, output):
        self.clock.now += run.step / 1000


class Between(Hook):
    def __init__(self, clock):
        self.clock = clock

    def before_step(self, run):
        self.clock.now += 0.1


def test_percentiles_of_the_steps_since_the_last_point_are_curves(train):
    clock = Clock()
    times = hooks.StepTimes(every_steps=10, clock=clock)
    done = train(Between(clock), Pass(clock), times, steps=20)
    curves = read_scalars(done.folder)
    assert curves["step_time/first"] == [(1, pytest.approx(0.001))]
    assert curves["step_time/p50"] == [(10, pytest.approx(0.006)), (20, pytest.approx(0.015))]
    assert curves["step_time/max"] == [(10, pytest.approx(0.01)), (20, pytest.approx(0.02))]
    assert curves["between_steps/p50"][-1] == (20, pytest.approx(0.1))
    assert times.steps.count == 19
    assert times.steps.total == pytest.approx(sum(range(2, 21)) / 1000)
    assert re.match(r"StepTimes: 19 steps of (10\.9|11|11\.1) ms \(90% within 19", done.lines[-1])


def test_the_wait_for_data_is_a_share_of_the_time(train):
    clock = Clock()

    class Kept(Hook):
        def begin(self, run):
            run.goodput = Goodput(clock)

        def before_step(self, run):
            run.goodput.switch("data")
            clock.now += 0.03
            run.goodput.switch("step")
            clock.now += 0.01

    done = train(Kept(), hooks.StepTimes(every_steps=5, clock=clock), steps=10)
    share = read_scalars(done.folder)["data_wait/share"]
    assert share[-1] == (10, pytest.approx(0.75))


def test_percentiles_agree_with_numpy():
    generator = random.Random(0)
    values = sorted(generator.expovariate(1.0) for _ in range(999))
    kept = Durations()
    kept.add(values)
    for percent in (1, 50, 90, 99, 100):
        expected = np.percentile(values, percent, method="inverted_cdf")
        assert _percentile(values, percent) == expected
        assert kept.percentile(percent) == pytest.approx(expected, rel=0.011)


def test_an_accelerator_is_read_only_where_it_is_due(train, monkeypatch):
    calls = []

    class Event:
        def __init__(self, device, enable_timing):
            assert (device, enable_timing) == ("cuda", True)

        def record(self):
            calls.append("record")

        def synchronize(self):
            calls.append("wait")

        def elapsed_time(self, other):
            return 7.0

    monkeypatch.setattr(torch, "Event", Event)
    times = hooks.StepTimes(every_steps=4)
    stamp = times._stamp
    monkeypatch.setattr(times, "_stamp", lambda device: stamp(torch.device("cuda")))
    done = train(times, steps=8)
    assert calls == [*["record"] * 2, "wait", *["record"] * 6, "wait", *["record"] * 8, "wait"]
    assert read_scalars(done.folder)["step_time/p99"][-1] == (8, pytest.approx(0.007))

"""Keras' schedules, translated, against the rates that Keras gives."""

from dataclasses import dataclass

import keras
import numpy as np
import pytest
import torch
from keras.optimizers import schedules as theirs

from dovetail.definition.keras.schedules import AsWritten, CosineRestarts, InverseTime, as_schedule
from dovetail.definition.optimizers import as_description, schedules
from dovetail.errors import DefinitionError

# A schedule, and the steps at which it turns.
CASES = {
    "exponential": (lambda: theirs.ExponentialDecay(0.3, 10, 0.5), [10, 20]),
    "exponential stairs": (
        lambda: theirs.ExponentialDecay(0.3, 10, 0.5, staircase=True),
        [10, 20, 30],
    ),
    "exponential, part of a step": (lambda: theirs.ExponentialDecay(0.3, 7.5, 0.5), [7, 8, 15]),
    "piecewise": (
        lambda: theirs.PiecewiseConstantDecay([5, 12, 13], [0.4, 0.3, 0.2, 0.1]),
        [5, 12, 13],
    ),
    "piecewise, one": (lambda: theirs.PiecewiseConstantDecay([5], [0.4, 0.3]), [5]),
    "piecewise, part of a step": (
        lambda: theirs.PiecewiseConstantDecay([5.7], [0.4, 0.3]),
        [5, 6],
    ),
    "polynomial": (lambda: theirs.PolynomialDecay(0.3, 12, 0.01, power=0.5), [12]),
    "polynomial, cycle": (lambda: theirs.PolynomialDecay(0.3, 12, cycle=True), [12, 24, 36]),
    "inverse time": (lambda: theirs.InverseTimeDecay(0.3, 4, 0.5), [4, 8]),
    "inverse time stairs": (
        lambda: theirs.InverseTimeDecay(0.3, 4, 0.5, staircase=True),
        [4, 8, 12],
    ),
    "cosine": (lambda: theirs.CosineDecay(0.3, 20), [20]),
    "cosine, alpha": (lambda: theirs.CosineDecay(0.3, 20, alpha=0.2), [10, 20]),
    "cosine, warm-up": (
        lambda: theirs.CosineDecay(0.01, 20, alpha=0.1, warmup_target=0.3, warmup_steps=6),
        [6, 26],
    ),
    "cosine, warm-up of no steps": (lambda: theirs.CosineDecay(0.0, 20, warmup_target=0.3), [20]),
    "cosine, part of a step": (lambda: theirs.CosineDecay(0.3, 20.5), [20, 21]),
    "restarts": (lambda: theirs.CosineDecayRestarts(0.3, 10), [10, 30, 70]),
    "restarts, alike": (
        lambda: theirs.CosineDecayRestarts(0.3, 10, t_mul=1.0, m_mul=0.8),
        [10, 20, 30],
    ),
    "restarts, all": (
        lambda: theirs.CosineDecayRestarts(0.3, 5, t_mul=3.0, m_mul=0.7, alpha=0.1),
        [5, 20, 65],
    ),
    "restarts, shorter": (lambda: theirs.CosineDecayRestarts(0.3, 100, t_mul=0.5), [99, 151]),
}


@pytest.mark.parametrize("case", CASES)
def test_rates_are_those_of_keras_at_every_corner_and_beside_it(case):
    make, corners = CASES[case]
    ours, keras_own = as_schedule(make()), make()
    steps = {0, 1, 2, *(corner + by for corner in corners for by in (-1, 0, 1)), 100}
    for step in sorted(steps):
        rate = ours(step)
        assert isinstance(rate, float)
        assert rate == pytest.approx(float(keras_own(step)), rel=2e-6, abs=3e-8), step


def test_a_restart_is_at_its_step_where_the_logarithm_of_keras_misses_it():
    ours = as_schedule(theirs.CosineDecayRestarts(1.0, 10, t_mul=1.5))
    assert [ours(step) for step in (10, 25)] == [1.0, 1.0]


def test_a_wave_of_equal_length_is_found_at_once_after_many():
    assert CosineRestarts(1.0, 3, t_mul=1.0, m_mul=1.0)(3 * 10**9) == 1.0


@pytest.mark.parametrize(
    ("keras_own", "ours"),
    [
        (theirs.ExponentialDecay(0.5, 10, 0.9), schedules.Exponential(0.5, 10, 0.9)),
        (
            theirs.PiecewiseConstantDecay([9], [1.0, 0.5]),
            schedules.PiecewiseConstant([10], [1.0, 0.5]),
        ),
        (theirs.PolynomialDecay(0.5, 9, 0.0), schedules.Polynomial(0.5, 9)),
        (theirs.InverseTimeDecay(0.5, 9, 0.5), InverseTime(0.5, 9.0, 0.5)),
        (theirs.CosineDecay(0.5, 9), schedules.Cosine(0.5, 9)),
        (theirs.CosineDecayRestarts(0.5, 9), CosineRestarts(0.5, 9.0)),
    ],
)
def test_what_we_have_too_becomes_ours(keras_own, ours):
    assert as_schedule(keras_own) == ours


class InverseRoot(theirs.LearningRateSchedule):
    """The schedule of "Attention Is All You Need" (2017), as Keras' users write it."""

    def __init__(self, width, warmup):
        self.width = keras.ops.cast(width, "float32")
        self.warmup = warmup

    def __call__(self, step):
        step = keras.ops.cast(step, "float32") + 1.0
        slope = keras.ops.minimum(keras.ops.rsqrt(step), step * self.warmup**-1.5)
        return keras.ops.rsqrt(self.width) * slope


def test_a_schedule_of_the_users_own_is_a_function_of_the_step():
    ours = as_schedule(InverseRoot(64, 10))
    for step in (0, 1, 8, 9, 10, 1000):
        formula = 64**-0.5 * min((step + 1) ** -0.5, (step + 1) * 10**-1.5)
        assert ours(step) == pytest.approx(formula, rel=1e-6)


def test_schedules_of_the_users_own_are_equal_by_their_code_and_values():
    assert as_schedule(InverseRoot(64, 10)) == as_schedule(InverseRoot(64, 10))
    assert hash(as_schedule(InverseRoot(64, 10))) == hash(as_schedule(InverseRoot(64, 10)))
    assert as_schedule(InverseRoot(64, 10)) != as_schedule(InverseRoot(64, 11))
    assert as_schedule(InverseRoot(64, 10)) != as_schedule(InverseRoot(32, 10))

    def made(power):
        class Own(theirs.LearningRateSchedule):
            def __init__(self):
                self.inner = theirs.ExponentialDecay(0.5, 2, 0.5)
                self.table = [np.ones(2), {"a": (1, 2)}]

            def __call__(self, step):
                return self.inner(step) ** power

        return Own()

    assert as_schedule(made(2)) == as_schedule(made(2))
    assert as_schedule(made(2)) != as_schedule(made(3))
    assert as_schedule(made(2))(2) == pytest.approx(0.0625)


def test_a_schedule_of_the_users_own_is_asked_on_the_cpu():
    class Seen(theirs.LearningRateSchedule):
        def __init__(self):
            self.base = torch.ones(())

        def __call__(self, step):
            places.append((step.device.type, keras.ops.convert_to_tensor(0.1).device.type))
            return 0.1

    places = []
    schedule = Seen()
    before = schedule.base
    with keras.device("meta"):
        assert as_schedule(schedule)(3) == 0.1
    assert places == [("cpu", "cpu")]
    assert schedule.base is before


def test_a_schedule_may_be_a_frozen_dataclass():
    @dataclass(frozen=True)
    class Halved(theirs.LearningRateSchedule):
        inner: theirs.LearningRateSchedule

        def __call__(self, step):
            return self.inner(step) / 2

    made = [as_schedule(Halved(theirs.InverseTimeDecay(0.5, 2, 1.0))) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0](2) == 0.125


def test_a_schedule_that_ours_refuses_is_refused_by_the_name_that_keras_has():
    with pytest.raises(DefinitionError, match=r"PiecewiseConstantDecay: .*boundaries must rise"):
        as_schedule(theirs.PiecewiseConstantDecay([9, 3], [1.0, 0.5, 0.1]))


def test_an_optimizers_schedule_is_translated_with_it():
    given = keras.optimizers.Adam(theirs.CosineDecay(0.5, 9))
    assert as_description(given).learning_rate == schedules.Cosine(0.5, 9)
    given = keras.optimizers.SGD(InverseRoot(64, 10))
    assert isinstance(as_description(given).learning_rate, AsWritten)

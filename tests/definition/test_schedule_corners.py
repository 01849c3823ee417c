"""Each schedule at its corners: closed forms for any arguments, and other libraries' schedules.

The corners are the first step, those beside a boundary, the boundary, and steps far beyond the end.
"""

from __future__ import annotations

import itertools
import math
import warnings
from bisect import bisect_right
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dovetail.definition.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    PiecewiseConstant,
    Polynomial,
    Schedule,
    Sequential,
    WarmUp,
    get,
)
from dovetail.errors import ParamsError

rates = st.floats(1e-6, 10.0)
ends = st.floats(0.0, 10.0)
lengths = st.integers(1, 10_000)


def corners(*boundaries: int) -> list[int]:
    """Return the steps at, before and after each boundary, the first ones, and some far beyond."""
    beside = [b + d for b in boundaries for d in (-1, 0, 1)]
    last = max(boundaries, default=1)
    return sorted({s for s in (0, 1, *beside, 2 * last, 2 * last + 1, 10**9) if s >= 0})


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


# Closed forms.


@given(rates)
def test_constant_is_the_same_at_every_corner(rate: float):
    assert {Constant(rate)(step) for step in corners(1000)} == {rate}


@given(rates, lengths, st.floats(0.01, 1.0))
def test_exponential_is_a_power_of_its_rate(initial: float, length: int, rate: float):
    smooth, stairs = Exponential(initial, length, rate), Exponential(initial, length, rate, True)
    assert smooth(0) == stairs(0) == initial
    for step in corners(length, 3 * length):
        # As e to the power of a logarithm, which is another way to the same number.
        assert smooth(step) == close(initial * math.exp(math.log(rate) * step / length))
        assert stairs(step) == close(initial * math.exp(math.log(rate) * (step // length)))
    assert stairs(length - 1) == initial
    assert stairs(length) == smooth(length) == close(initial * rate)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=5, unique=True), st.data())
def test_piecewise_constant_changes_at_the_boundary_itself(boundaries: list[int], data: Any):
    boundaries.sort()
    values = data.draw(st.lists(ends, min_size=len(boundaries) + 1, max_size=len(boundaries) + 1))
    schedule = PiecewiseConstant(boundaries, values)
    for step in corners(*boundaries):
        assert schedule(step) == values[bisect_right(boundaries, step)]
    for boundary, before, after in zip(boundaries, values, values[1:], strict=False):
        assert (schedule(boundary - 1), schedule(boundary)) == (before, after)


@given(rates, lengths, ends, st.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_polynomial_is_level_from_its_end_on(initial: float, length: int, end: float, power: float):
    schedule = Polynomial(initial, length, end, power)
    assert schedule(0) == initial
    for step in corners(length):
        share = max(length - step, 0) / length
        assert schedule(step) == close((initial - end) * share**power + end)
    assert {schedule(step) for step in corners(length) if step >= length} == {end}


@given(rates, lengths, ends, st.integers(1, 6))
def test_polynomial_in_cycles_ends_each_and_begins_a_longer_one(
    initial: float, length: int, end: float, cycle: int
):
    schedule = Polynomial(initial, length, end, power=2.0, cycle=True)
    assert schedule(0) == initial
    assert schedule(cycle * length) == end
    for step in range(cycle * length + 1, cycle * length + min(length, 5)):
        share = 1 - step / ((cycle + 1) * length)
        assert schedule(step) == close((initial - end) * share**2 + end)


@given(ends, lengths, ends)
def test_linear_is_a_straight_line_and_level_from_its_end_on(initial, length, end):
    schedule = Linear(initial, length, end)
    assert (schedule(0), schedule(length), schedule(length + 1)) == (initial, end, end)
    for step in corners(length):
        done = min(step, length)
        assert schedule(step) == close((initial * (length - done) + end * done) / length)
        assert schedule(step) == close(Polynomial(initial, length, end)(step))


@given(rates, lengths, ends)
def test_cosine_is_half_a_wave_and_level_from_its_end_on(initial, length, end):
    schedule = Cosine(initial, length, end)
    assert (schedule(0), schedule(length), schedule(length + 1)) == (initial, end, end)
    for step in corners(length):
        angle = math.pi * min(step, length) / length
        # cos(a / 2) ** 2 is (1 + cos a) / 2
        assert schedule(step) == close(end + (initial - end) * math.cos(angle / 2) ** 2)
    if length % 2 == 0:
        assert schedule(length // 2) == close((initial + end) / 2)


curves = st.one_of(
    st.builds(Constant, rates),
    st.builds(Exponential, rates, lengths, st.floats(0.1, 1.0), st.booleans()),
    st.builds(Polynomial, rates, lengths, ends, st.just(2.0), st.booleans()),
    st.builds(Linear, rates, lengths, ends),
    st.builds(Cosine, rates, lengths, ends),
)


@given(curves, st.integers(1, 1000))
def test_a_warm_up_rises_in_equal_parts_and_the_schedule_begins_at_its_own_step_0(after, steps):
    schedule = WarmUp(after, steps)
    first = after(0)
    assert schedule(0) == close(first / steps)
    assert schedule(steps - 1) == schedule(steps) == first
    for step in corners(steps):
        if step < steps:
            assert schedule(step) == close(first * (step + 1) / steps)
        else:
            assert schedule(step) == after(step - steps)


@given(st.lists(st.tuples(curves, st.integers(1, 500)), min_size=1, max_size=4), curves)
def test_each_part_of_a_sequence_counts_its_own_steps(parts, last):
    schedule = Sequential([*parts, (last, None)])
    starts = [0, *itertools.accumulate(steps for _, steps in parts)]
    every = [curve for curve, _ in parts] + [last]
    for step in corners(*starts):
        number = bisect_right(starts, step) - 1
        assert schedule(step) == every[number](step - starts[number])
    assert [schedule(start) for start in starts] == [curve(0) for curve in every]


def test_a_params_file_s_list_counts_each_part_s_own_steps():
    schedule = get(
        [
            {"scheduler": "Linear", "initial_learning_rate": 0.0, "end_learning_rate": 1.0}
            | {"steps": 10},
            {"scheduler": "Constant", "learning_rate": 1.0, "steps": 5},
            {"scheduler": "Cosine", "initial_learning_rate": 1.0, "decay_steps": 20},
        ]
    )
    expected = {0: 0.0, 1: 0.1, 9: 0.9, 10: 1.0, 14: 1.0, 15: 1.0, 25: 0.5, 35: 0.0, 10**6: 0.0}
    assert {step: schedule(step) for step in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Exponential(0.1, 10, 0.0), "decay_rate must be above 0"),
        (lambda: Polynomial(0.1, 10, 0.01, power=0.0), "power must be above 0"),
        (lambda: Exponential(0.1, 10, -1.0), "decay_rate"),
        (lambda: PiecewiseConstant([0], [0.1, 0.2]), "at least 1"),
        (lambda: PiecewiseConstant([5, 5], [0.1, 0.2, 0.3]), "must rise"),
        (lambda: WarmUp(0.1, 0), "at least 1"),
        (lambda: Sequential([(0.1, 0), (0.2, None)]), "at least 1"),
    ],
)
def test_arguments_without_a_corner_are_refused(make: Any, message: str):
    with pytest.raises(ParamsError, match=message):
        make()


# Other libraries.


def of_torch(steps: int, *makers: Any, milestones: Any = None) -> list[float]:
    """Return the rates of torch's scheduler from 1.0; of several in sequence with milestones."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = [make(optimizer) for make in makers]
    scheduler = schedulers[0]
    if milestones:
        scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, schedulers, milestones)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own SequentialLR calls what it deprecates
            scheduler.step()
    return found


SCHEDULERS = torch.optim.lr_scheduler
TORCH = {
    "stairs": (
        Exponential(1.0, 7, 0.3, staircase=True),
        [lambda o: SCHEDULERS.StepLR(o, 7, 0.3)],
        None,
    ),
    "smooth": (Exponential(1.0, 1, 0.9), [lambda o: SCHEDULERS.ExponentialLR(o, 0.9)], None),
    "linear": (
        Linear(0.25, 12, 1.0),
        [lambda o: SCHEDULERS.LinearLR(o, 0.25, 1.0, total_iters=12)],
        None,
    ),
    "square root": (
        Polynomial(1.0, 9, power=0.5),
        [lambda o: SCHEDULERS.PolynomialLR(o, 9, power=0.5)],
        None,
    ),
    "three boundaries": (
        PiecewiseConstant([1, 2, 20], [1.0, 0.1, 0.01, 0.001]),
        [lambda o: SCHEDULERS.MultiStepLR(o, [1, 2, 20], 0.1)],
        None,
    ),
    "a sequence": (
        Sequential([(Linear(0.5, 6, 1.0), 6), (0.1, 4), (Exponential(1.0, 1, 0.8), None)]),
        [
            lambda o: SCHEDULERS.LinearLR(o, 0.5, 1.0, total_iters=6),
            lambda o: SCHEDULERS.ConstantLR(o, 0.1, total_iters=100),
            lambda o: SCHEDULERS.ExponentialLR(o, 0.8),
        ],
        [6, 10],
    ),
    "a warm-up": (
        WarmUp(Exponential(1.0, 5, 0.5, staircase=True), 4),
        [
            lambda o: SCHEDULERS.LambdaLR(o, lambda step: (step + 1) / 4),
            lambda o: SCHEDULERS.StepLR(o, 5, 0.5),
        ],
        [4],
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_torch_s_scheduler_gives_the_same_rates(name: str):
    ours, makers, milestones = TORCH[name]
    theirs = of_torch(30, *makers, milestones=milestones)
    assert [ours(step) for step in range(30)] == pytest.approx(theirs, rel=1e-9, abs=1e-12)


KERAS: dict[str, tuple[Schedule, str, dict[str, Any]]] = {
    "smooth": (Exponential(0.8, 7, 0.5), "ExponentialDecay", {"args": (0.8, 7, 0.5)}),
    "stairs": (
        Exponential(0.8, 7, 0.5, staircase=True),
        "ExponentialDecay",
        {"args": (0.8, 7, 0.5), "staircase": True},
    ),
    "polynomial": (
        Polynomial(0.8, 12, 0.1, 2.0),
        "PolynomialDecay",
        {"args": (0.8, 12, 0.1, 2.0)},
    ),
    "cycles": (
        Polynomial(0.8, 12, 0.1, 2.0, cycle=True),
        "PolynomialDecay",
        {"args": (0.8, 12, 0.1, 2.0), "cycle": True},
    ),
    "linear": (Linear(0.8, 12, 0.1), "PolynomialDecay", {"args": (0.8, 12, 0.1)}),
    "cosine": (Cosine(0.8, 12, 0.2), "CosineDecay", {"args": (0.8, 12, 0.25)}),
}


@pytest.mark.parametrize("name", KERAS)
def test_keras_schedule_gives_the_same_rates(name: str):
    from keras.optimizers import schedules

    ours, theirs, given = KERAS[name]
    arguments = dict(given)
    decay = getattr(schedules, theirs)(*arguments.pop("args"), **arguments)
    steps = corners(7, 12, 14, 24, 36)[:-1]  # Keras computes in float32
    found = [float(decay(step)) for step in steps]
    assert [ours(step) for step in steps] == pytest.approx(found, rel=1e-5, abs=1e-7)


def test_keras_changes_a_piecewise_constant_one_step_later():
    from keras.optimizers.schedules import PiecewiseConstantDecay

    values = [0.3, 0.2, 0.1]
    ours, decay = PiecewiseConstant([3, 7], values), PiecewiseConstantDecay([3, 7], values)
    later = [float(decay(step + 1)) for step in range(12)]
    assert [ours(step) for step in range(12)] == pytest.approx(later)
    assert (ours(3), float(decay(3))) == pytest.approx((0.2, 0.3))


@given(curves, st.integers(0, 10_000))
def test_a_rate_is_never_negative_and_always_finite(curve: Schedule, step: int):
    assert 0.0 <= curve(step) < math.inf

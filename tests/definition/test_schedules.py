"""Schedules against closed forms and torch's own schedulers, and the entries of params files."""

import dataclasses
import math
import subprocess
import sys

import pytest
import torch

from dovetail.definition import schedules
from dovetail.definition.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    PiecewiseConstant,
    Polynomial,
    Sequential,
    WarmUp,
)
from dovetail.errors import ParamsError

ONE_OF_EACH = [
    Constant(0.1),
    Exponential(0.1, 10, 0.5),
    PiecewiseConstant([2, 5], [0.3, 0.2, 0.1]),
    Polynomial(0.1, 10, 0.01, power=2.0),
    Linear(0.1, 10, 0.01),
    Cosine(0.1, 10, 0.01),
    WarmUp(Cosine(0.1, 10), 5),
    Sequential([(0.1, 5), (Linear(0.1, 10), None)]),
]


def rates_of_torch(make, steps, rate=0.1):
    """The rates that one of torch's schedulers gives, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant_never_changes():
    assert [Constant(0.3)(step) for step in (0, 1, 10**9)] == [0.3] * 3


def test_exponential_multiplies_by_the_rate_every_decay_steps():
    schedule = Exponential(0.8, decay_steps=4, decay_rate=0.25)
    assert schedule(0) == 0.8
    assert schedule(2) == pytest.approx(0.4)
    assert schedule(4) == pytest.approx(0.2)
    assert schedule(8) == pytest.approx(0.05)


def test_exponential_staircase_keeps_its_rate_between_the_stairs():
    schedule = Exponential(0.8, decay_steps=4, decay_rate=0.5, staircase=True)
    assert [schedule(step) for step in (0, 3, 4, 7, 8)] == [0.8, 0.8, 0.4, 0.4, 0.2]


def test_exponential_agrees_with_torch():
    theirs = rates_of_torch(lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9), 30)
    ours = Exponential(0.1, 1, 0.9)
    assert [ours(step) for step in range(30)] == pytest.approx(theirs, rel=1e-12)


def test_piecewise_constant_changes_at_its_boundaries_as_torch_does():
    schedule = PiecewiseConstant([3, 7], [0.1, 0.01, 0.001])
    theirs = rates_of_torch(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 7], 0.1), 10)
    assert [schedule(step) for step in range(10)] == pytest.approx(theirs, rel=1e-12)
    assert [schedule(step) for step in (2, 3, 6, 7)] == [0.1, 0.01, 0.01, 0.001]


def test_polynomial_reaches_its_end_and_stays():
    schedule = Polynomial(1.0, decay_steps=10, end_learning_rate=0.1, power=2.0)
    assert schedule(0) == 1.0
    assert schedule(5) == pytest.approx(0.1 + 0.9 * 0.25)
    assert schedule(10) == schedule(1000) == 0.1


def test_polynomial_agrees_with_torch():
    theirs = rates_of_torch(
        lambda o: torch.optim.lr_scheduler.PolynomialLR(o, total_iters=12, power=1.5), 20
    )
    ours = Polynomial(0.1, decay_steps=12, power=1.5)
    assert [ours(step) for step in range(20)] == pytest.approx(theirs, rel=1e-9, abs=1e-15)


def test_polynomial_cycle_starts_again_over_a_longer_period():
    schedule = Polynomial(1.0, decay_steps=10, cycle=True)
    assert schedule(0) == 1.0
    assert schedule(10) == 0.0
    assert schedule(11) == pytest.approx(1 - 11 / 20)
    assert schedule(20) == 0.0
    assert schedule(21) == pytest.approx(1 - 21 / 30)


def test_linear_goes_straight_up_or_down_and_stays():
    down, up = Linear(1.0, 4, 0.2), Linear(0.0, 4, 1.0)
    assert [down(step) for step in range(6)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    assert [up(step) for step in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_follows_half_a_wave_and_stays():
    schedule = Cosine(0.2, decay_steps=8, end_learning_rate=0.02)
    assert schedule(0) == 0.2
    assert schedule(4) == pytest.approx(0.11)
    assert schedule(2) == pytest.approx(0.02 + 0.09 * (1 + math.cos(math.pi / 4)))
    assert schedule(8) == schedule(80) == 0.02


def test_cosine_agrees_with_torch():
    theirs = rates_of_torch(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=20, eta_min=0.01), 20
    )
    ours = Cosine(0.1, 20, 0.01)
    assert [ours(step) for step in range(20)] == pytest.approx(theirs, rel=1e-9)


def test_warm_up_rises_in_equal_parts_and_then_starts_the_schedule_at_its_step_0():
    after = Cosine(0.3, 10)
    schedule = WarmUp(after, steps=3)
    assert [schedule(step) for step in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    assert schedule(2) == 0.3
    assert [schedule(3 + step) for step in range(12)] == [after(step) for step in range(12)]


def test_sequential_resets_the_step_for_each_part():
    first, second, third = Linear(0.1, 4, 0.2), Exponential(0.5, 1, 0.5), Cosine(0.3, 5)
    schedule = Sequential([(first, 4), (second, 3), (third, None)])
    expected = [first(s) for s in range(4)] + [second(s) for s in range(3)]
    expected += [third(s) for s in range(10)]
    assert [schedule(step) for step in range(17)] == expected


def test_sequential_and_warm_up_take_numbers():
    assert Sequential([(0.5, 2), (0.25, None)])(2) == 0.25
    assert WarmUp(1, steps=4)(0) == 0.25


@pytest.mark.parametrize("schedule", ONE_OF_EACH, ids=lambda s: type(s).__name__)
def test_a_schedule_is_a_frozen_value_that_gives_a_float(schedule):
    again = eval(repr(schedule), vars(schedules))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert all(type(schedule(step)) is float for step in range(20))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, dataclasses.fields(schedule)[0].name, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(-0.1), "at least 0"),
        (lambda: Constant(math.nan), "finite"),
        (lambda: Constant("1e-3"), "In YAML write 1.0e-3"),
        (lambda: Constant(True), "finite number"),
        (lambda: Linear(0.1, 0), "decay_steps must be a whole number"),
        (lambda: Linear(0.1, 10.0), "decay_steps must be a whole number"),
        (lambda: PiecewiseConstant([1, 2], [0.1, 0.2]), "need 3 values, but 2"),
        (lambda: PiecewiseConstant([2, 1], [0.1, 0.2, 0.3]), "must rise"),
        (lambda: WarmUp("cosine", 3), "expected a schedule or a number"),
        (lambda: Sequential([]), "no parts"),
        (lambda: Sequential([(0.1, 5)]), "nothing follows"),
        (lambda: Sequential([(0.1, None), (0.2, None)]), "each part but the last"),
    ],
)
def test_nonsense_is_refused_when_it_is_built(make, message):
    with pytest.raises(ParamsError, match=message):
        make()


def test_get_takes_names_in_any_spelling():
    expected = PiecewiseConstant([1], [0.1, 0.2])
    for name in ("piecewise_constant", "PiecewiseConstant", "PIECEWISECONSTANT"):
        assert schedules.get(name, boundaries=[1], values=[0.1, 0.2]) == expected


def test_get_takes_a_mapping_that_names_a_schedule():
    entry = {"scheduler": "Cosine", "initial_learning_rate": 0.1, "decay_steps": 10}
    assert schedules.get(entry) == Cosine(0.1, 10)
    assert entry["scheduler"] == "Cosine"
    assert schedules.get({"name": "constant", "learning_rate": 0.1}) == Constant(0.1)
    nested = {"scheduler": "WarmUp", "steps": 5, "schedule": entry}
    assert schedules.get(nested) == WarmUp(Cosine(0.1, 10), 5)


def test_get_takes_a_list_to_be_run_one_after_the_other():
    schedule = schedules.get(
        [
            {
                "scheduler": "Linear",
                "initial_learning_rate": 0.0,
                "end_learning_rate": 0.1,
                "steps": 4,
            },
            {
                "scheduler": "Exponential",
                "initial_learning_rate": 0.1,
                "decay_steps": 2,
                "decay_rate": 0.5,
                "steps": 6,
            },
            {"scheduler": "Linear", "initial_learning_rate": 0.05, "steps": 10},
        ]
    )
    parts = [(Linear(0.0, 4, 0.1), 4), (Exponential(0.1, 2, 0.5), 6), (Linear(0.05, 10), None)]
    assert schedule == Sequential(parts)


def test_get_takes_numbers_and_schedules():
    assert schedules.get(0.1) == Constant(0.1)
    assert schedules.get(Cosine(0.1, 5)) == Cosine(0.1, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedules.get("cosin"), "Did you mean 'cosine'"),
        (
            lambda: schedules.get("cosine", initial_learning_rate=0.1, decay_step=5),
            "Did you mean 'decay_steps'",
        ),
        (lambda: schedules.get("cosine", decay_steps=5), "needs 'initial_learning_rate'"),
        (lambda: schedules.get({"learning_rate": 0.1}), "names no schedule"),
        (lambda: schedules.get([0.1, 0.2]), "expected a mapping"),
        (
            lambda: schedules.get([{"scheduler": "Constant", "learning_rate": 0.1}] * 2),
            "schedule 0 .* has no 'steps'",
        ),
        (lambda: schedules.get({"scheduler": "constant"}, learning_rate=1), "only with a sch"),
        (lambda: schedules.get(None), "is a number, a mapping"),
    ],
)
def test_get_says_what_is_wrong_with_an_entry(call, message):
    with pytest.raises(ParamsError, match=message):
        call()


def test_schedules_and_hparams_are_imported_without_torch_or_yaml():
    code = (
        "import sys, dovetail.definition.schedules, dovetail.definition.hparams;"
        "assert not {'torch', 'yaml', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

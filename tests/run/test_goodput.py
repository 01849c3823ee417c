"""The clock of phases, beside sums done by hand."""

from __future__ import annotations

import pytest

from dovetail.run.goodput import Goodput, line


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_all_time_belongs_to_some_phase(clock):
    goodput = Goodput(clock)
    for phase, seconds in [("data", 1.0), ("step", 0.25), ("data", 2.0), ("step", 0.5)]:
        clock.now += seconds
        goodput.switch(phase)
    clock.now += 3.25
    assert goodput.totals() == {"setup": 1.0, "data": 0.75, "step": 5.25}
    assert sum(goodput.totals().values()) == clock.now - 100.0
    assert sum(goodput.shares().values()) == pytest.approx(1.0)


def test_asking_leaves_the_present_phase_as_it_is(clock):
    goodput = Goodput(clock)
    goodput.switch("step")
    for _ in range(3):
        clock.now += 1.0
        goodput.line()
        goodput.shares()
        goodput.scalars()
    goodput.switch("data")
    assert goodput.seconds["step"] == 3.0


def test_curves_tell_of_the_time_since_the_last_point(clock):
    goodput = Goodput(clock)
    clock.now += 100.0
    goodput.switch("step")
    goodput.scalars()
    clock.now += 3.0
    goodput.switch("data")
    clock.now += 1.0
    assert goodput.scalars() == {
        "goodput/setup": 0.0,
        "goodput/step": 0.75,
        "goodput/data": 0.25,
    }


def test_before_any_time_has_passed_nothing_is_divided_by_zero(clock):
    goodput = Goodput(clock)
    assert goodput.shares() == {"setup": 0.0}
    assert goodput.line() == "Goodput 0%: 0.0 s of 0.0 s in steps."


def test_all_of_it_is_said_only_where_it_was_all():
    assert line({"step": 999.0, "data": 1.0}).startswith("Goodput 99%")
    assert line({"step": 999.0}).startswith("Goodput 100%")


def test_phases_of_no_weight_are_left_out_of_the_line():
    said = line({"step": 9000.0, "data": 990.0, "hooks": 1.0})
    assert said == "Goodput 90%: 2 h 30 min of 2 h 46 min in steps; data 10%."

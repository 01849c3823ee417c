"""Learning rates whose boundaries are in epochs."""

from __future__ import annotations

import copy
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.definition.schedule_epochs import EpochLength, PiecewiseEpochs
from dovetail.errors import ParamsError

VALUES = (1.0, 0.1, 0.01)


@pytest.mark.parametrize("examples", [64, 100, 1000])
@pytest.mark.parametrize("batch", [1, 7, 32])
def test_the_rate_of_a_step_is_that_of_the_epoch_of_its_first_example(examples: int, batch: int):
    schedule = PiecewiseEpochs((1, 2.5), VALUES, examples, batch)
    for step in range(0, 3 * examples // batch + 2):
        epochs = step * batch / examples  # passed before this step
        expected = VALUES[(epochs >= 1) + (epochs >= 2.5)]
        assert schedule(step) == expected, step


@pytest.mark.parametrize(
    ("boundary", "examples", "batch", "first"),
    [(1.1, 10, 1, 11), (1.1, 150, 3, 55), (0.57, 100, 1, 57), (3, 10, 3, 10), (3, 1000, 30, 100)],
)
def test_a_boundary_is_the_number_that_was_written(boundary, examples, batch, first):
    schedule = PiecewiseEpochs((boundary,), (1.0, 0.1), examples, batch)
    assert [schedule(first + d) for d in (-1, 0, 1)] == [1.0, 0.1, 0.1]


@given(
    st.decimals(Decimal("0.01"), 300, places=2),
    st.integers(1, 2_000_000),
    st.integers(1, 4096),
)
def test_the_first_step_of_a_rate_is_the_first_that_is_past_the_boundary(boundary, examples, batch):
    first = EpochLength(examples, batch).first_step(float(boundary))
    assert first is not None
    assert first * batch >= Fraction(boundary) * examples
    assert (first - 1) * batch < Fraction(boundary) * examples


def test_the_definition_s_examples_and_the_run_s_batches_count():
    run = EpochLength()
    schedule = PiecewiseEpochs((1,), (1.0, 0.1), 100, 50, run)
    assert [schedule(step) for step in (1, 2)] == [1.0, 0.1]
    run.examples, run.batch_size = 1000, 10
    assert [schedule(step) for step in (9, 10)] == [1.0, 0.1]


def test_without_a_number_of_examples_it_is_refused_with_what_to_do():
    schedule = PiecewiseEpochs((1,), (1.0, 0.1), None, 50)
    with pytest.raises(ParamsError, match=r"num_examples=\.\.\."):
        schedule(0)


def test_what_a_run_knows_is_no_part_of_what_is_described():
    one = PiecewiseEpochs((1,), (1.0, 0.1), 100, 50, EpochLength(3, 4))
    other = PiecewiseEpochs((1,), (1.0, 0.1), 100, 50)
    assert one == other == copy.deepcopy(one)
    assert hash(one) == hash(other)
    assert repr(one) == repr(other)

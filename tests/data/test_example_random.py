"""Numbers that belong to an example: pure functions of its seed, the same on every device."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.example_random import STREAM, example_seeds, generator, integers, uniform
from dovetail.data.order import permuted
from dovetail.errors import DataError

LOW_64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
SEEDS = example_seeds(3, 1, np.arange(5000))


def mixed(value):
    """The finaliser of SplitMix64, as its paper has it, on Python's integers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & LOW_64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & LOW_64
    return value ^ (value >> 31)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, STREAM), st.integers(1, 5))
def test_the_numbers_are_splitmix64_s(seed, draw, count):
    state = mixed((seed + (draw + 1) * GOLDEN) & LOW_64)
    stream = [mixed((state + step * GOLDEN) & LOW_64) for step in range(1, count + 1)]
    seeds = np.array([seed])
    units = uniform(seeds, shape=(count,), draw=draw)[0]
    assert units.tolist() == [((one >> 40) & 0xFFFFFF) / 2**24 for one in stream]
    wholes = integers(seeds, -3, 1000, (count,), draw=draw)[0]
    assert wholes.tolist() == [(one & (2**63 - 1)) % 1003 - 3 for one in stream]


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
    st.floats(-1e6, 1e6),
    st.floats(0, 1e6),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, STREAM - 1),
)
def test_arrays_and_tensors_get_the_same_bits(seeds, low, width, shape, draw):
    array = np.array(seeds, np.int64)
    tensor = torch.from_numpy(array.copy())
    one, other = (uniform(x, low, low + width, shape, draw=draw) for x in (array, tensor))
    assert (one.dtype, other.dtype) == (np.float32, torch.float32)
    assert one.shape == tuple(other.shape) == (len(seeds), *shape)
    assert one.tobytes() == other.numpy().tobytes()
    one, other = (integers(x, 0, 1 + int(width), shape, draw=draw) for x in (array, tensor))
    assert (one.dtype, other.dtype) == (np.int64, torch.int64)
    np.testing.assert_array_equal(one, other.numpy())


def test_the_numbers_never_change():
    """Written down once. If these change, every run with augmentation is another one."""
    assert example_seeds(0, 0, np.arange(2)).tolist() == [-5148213061593815952, 6881751228012935359]
    assert example_seeds(-1, 5, np.array([7])).tolist() == [4931606211360864853]
    seeds = example_seeds(0, 0, np.arange(2))
    assert integers(seeds, 0, 1000, (3,)).tolist() == [[79, 353, 192], [308, 598, 736]]
    assert integers(seeds, 0, 1000, draw=1).tolist() == [770, 587]


@given(st.integers(-(2**70), 2**70), st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_seed_is_that_of_seed_epoch_and_row_whatever_comes_with_it(seed, epoch, row):
    rows = np.array([5, row, 9])
    together = example_seeds(seed, np.array([1, epoch, 2]), rows)
    alone = example_seeds(seed, epoch, np.array([row]))
    assert together.dtype == np.int64
    assert together[1] == alone[0]


def test_seeds_of_runs_epochs_and_rows_all_differ():
    rows = np.arange(1000)
    every = [example_seeds(seed, epoch, rows) for seed in range(-5, 5) for epoch in range(5)]
    assert len(np.unique(np.concatenate(every))) == 50_000
    order = permuted(0, 0, 1000, rows)
    # The deviation of a correlation of independent values is 1/sqrt(1000) = 0.032.
    assert abs(np.corrcoef(example_seeds(0, 0, rows).astype(float), order)[0, 1]) < 0.13


def test_every_number_is_as_likely_and_draws_are_unrelated():
    one, two, three = (
        uniform(SEEDS),
        uniform(SEEDS, draw=1),
        uniform(example_seeds(3, 2, np.arange(5000))),
    )
    assert 0 <= one.min() < one.max() < 1
    assert abs(one.mean() - 0.5) < 4 * 12**-0.5 / 5000**0.5
    for other in (two, three, np.roll(one, 1)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / 5000**0.5
    pairs = uniform(SEEDS, shape=(2,))
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 4 / 5000**0.5
    counts = np.bincount(integers(SEEDS, 0, 10))
    # Chi-squared with 9 degrees of freedom, within four of its standard deviations.
    assert ((counts - 500) ** 2 / 500).sum() < 9 + 4 * 18**0.5


def test_a_generator_is_that_of_seed_and_draw():
    drawn = [generator(seed, draw).random(3).tolist() for seed in (-1, 4) for draw in (0, 1)]
    assert len({str(one) for one in drawn}) == 4
    assert generator(-1, 1).random(3).tolist() == drawn[1]


def test_wide_ranges_of_whole_numbers_are_reached():
    found = integers(SEEDS, -(2**62), 2**62 - 1)
    assert found.min() < -(2**61)
    assert found.max() > 2**61


def test_bounds_that_are_no_bounds_are_refused():
    with pytest.raises(DataError, match="low <= high; got 1 and 0"):
        uniform(SEEDS, 1, 0)
    with pytest.raises(DataError, match="low < high; got 2 and 2"):
        integers(SEEDS, 2, 2)
    assert (uniform(SEEDS, 2, 2) == 2).all()


@pytest.mark.parametrize(
    "seeds",
    [np.arange(3.0), np.arange(4).reshape(2, 2), torch.arange(3).int(), [1, 2], np.int64(3)],
    ids=["floats", "two dimensions", "int32", "list", "number"],
)
def test_what_is_no_row_of_seeds_is_refused(seeds):
    with pytest.raises(DataError, match="Seeds of examples are int64"):
        uniform(seeds)

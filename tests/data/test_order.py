"""The order of examples: a permutation, the same for ever, and without favourites."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.order import batch_indices, permuted, share
from dovetail.errors import DataError
from dovetail.program.batches import cut


@given(st.integers(1, 3000), st.integers(-(2**63), 2**64), st.integers(0, 2**40))
def test_every_epoch_is_a_permutation(length, seed, epoch):
    order = permuted(seed, epoch, length, np.arange(length))
    assert sorted(order.tolist()) == list(range(length))


# Written down once. If one of these changes, every run that is resumed sees other examples.
@pytest.mark.parametrize(
    ("seed", "epoch", "length", "first"),
    [
        (0, 0, 1, [0]),
        (0, 0, 10, [0, 6, 1, 8, 2, 5, 4, 3, 9, 7]),
        (0, 1, 10, [3, 9, 0, 6, 8, 5, 1, 2, 4, 7]),
        (1, 0, 10, [9, 3, 4, 6, 5, 8, 7, 0, 1, 2]),
        (0, 0, 1797, [1124, 1447, 756, 1499, 613, 24, 337, 637, 765, 379]),
        (-1, 0, 1797, [1365, 824, 410, 460, 1018, 588, 424, 225, 359, 1584]),
        (
            9223372036854775808,
            5,
            50000,
            [43704, 15338, 25137, 24965, 10056, 10209, 5344, 18438, 34323, 7902],
        ),
        (
            123,
            1000000,
            1000000000000,
            [
                943865389564,
                628245521737,
                625609018260,
                104499889759,
                347673260412,
                470104042,
                767778194635,
                959163097126,
                331080298982,
                178209986959,
            ],
        ),
    ],
)
def test_the_order_never_changes(seed, epoch, length, first):
    assert permuted(seed, epoch, length, np.arange(len(first))).tolist() == first


@given(st.integers(1, 200), st.integers(0, 9), st.data())
def test_any_position_can_be_asked_for_alone(length, seed, data):
    whole = permuted(seed, 3, length, np.arange(length))
    some = data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=9))
    np.testing.assert_array_equal(permuted(seed, 3, length, np.array(some)), whole[some])


@given(st.integers(1, 50), st.integers(0, 200), st.integers(0, 100), st.booleans())
def test_batches_follow_one_another_across_epochs(length, start, count, shuffle):
    epochs = (start + count) // length + 1
    stream = np.concatenate(
        [
            permuted(7, epoch, length, np.arange(length)) if shuffle else np.arange(length)
            for epoch in range(epochs)
        ]
    )
    found = batch_indices(7, length, start, count, shuffle)
    np.testing.assert_array_equal(found, stream[start : start + count])
    assert found.dtype == np.int64


@pytest.mark.parametrize("length", [2, 3, 4, 5])
def test_every_order_of_a_few_examples_comes_as_often(length):
    epochs = 20_000
    columns = [
        permuted(0, np.arange(epochs), length, np.full(epochs, position))
        for position in range(length)
    ]
    orders, counts = np.unique(np.stack(columns, 1), axis=0, return_counts=True)
    assert {tuple(order) for order in orders} == set(itertools.permutations(range(length)))
    # Chi-squared with length! - 1 degrees of freedom, within four of its standard deviations.
    freedom = math.factorial(length) - 1
    expected = epochs / (freedom + 1)
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 4 * math.sqrt(2 * freedom)


def test_neighbours_and_epochs_are_unrelated():
    length = 50_000
    one, two = (permuted(1, epoch, length, np.arange(length)) for epoch in (0, 1))
    # The deviation of a correlation of independent values is 1/sqrt(length) = 0.0045.
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.02
    assert abs(np.corrcoef(one, np.arange(length))[0, 1]) < 0.02


def test_seeds_give_different_orders():
    orders = {tuple(permuted(seed, 0, 20, np.arange(20))) for seed in range(-50, 50)}
    assert len(orders) == 100


def test_an_empty_data_set_is_an_error_that_says_so():
    with pytest.raises(DataError, match="empty"):
        batch_indices(0, 0, 0, 5)


@given(st.integers(0, 200), st.integers(1, 20))
def test_the_shares_of_workers_are_the_batch_in_order_and_nearly_equal(count, workers):
    bounds = [share(count, worker, workers) for worker in range(workers)]
    assert [at for begin, end in bounds for at in range(begin, end)] == list(range(count))
    sizes = [end - begin for begin, end in bounds]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


@given(st.integers(1, 50), st.integers(1, 12))
def test_the_shares_are_those_into_which_a_program_cuts_its_parts(count, workers):
    parts = [part.tolist() for part, _ in cut(torch.arange(count), None, workers)]
    shares = [list(range(*share(count, worker, workers))) for worker in range(workers)]
    assert [one for one in shares if one] == parts


@pytest.mark.parametrize(("worker", "workers"), [(-1, 2), (2, 2), (0, 0)])
def test_a_worker_that_there_is_not_is_refused(worker, workers):
    with pytest.raises(DataError, match=f"worker {worker} of {workers}"):
        share(10, worker, workers)

"""Which items each batch has, against a plain reading of what was asked for."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.datasets.index import DatasetIndex
from dovetail.data.datasets.puller import Puller
from dovetail.data.datasets.selection import Position
from dovetail.data.datasets.walk import Walk
from dovetail.data.order import permuted
from dovetail.errors import DataError

SHUFFLES = st.sampled_from(
    [False, True, 7, lambda ids: ids[::-1], "generator", "random state", np.random.permutation]
)


def shuffler(kind):
    if kind == "generator":
        return np.random.default_rng(3)
    return np.random.RandomState(3) if kind == "random state" else kind


def ids_of(walk):
    return [one.ids.tolist() for one in walk]


def test_batches_cross_epochs_and_only_the_last_is_short():
    assert ids_of(Walk(DatasetIndex(4), 3, n_epochs=2)) == [[0, 1, 2], [3, 0, 1], [2, 3]]


def test_with_drop_last_no_batch_crosses_epochs_and_each_drops_its_tail():
    assert ids_of(Walk(DatasetIndex(4), 3, n_epochs=2, drop_last=True)) == [[0, 1, 2], [0, 1, 2]]


def test_a_batch_size_above_the_length_takes_several_epochs():
    assert ids_of(Walk(DatasetIndex(2), 5, n_epochs=3)) == [[0, 1, 0, 1, 0], [1]]


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5), SHUFFLES)
def test_an_epoch_holds_every_item_exactly_once(length, batch_size, n_epochs, kind):
    walk = Walk(DatasetIndex(length), batch_size, n_epochs=n_epochs, shuffle=shuffler(kind))
    expected = walk.batches
    batches = list(walk)
    assert len(batches) == expected
    assert all(len(one) == batch_size for one in batches[:-1])
    for epoch in range(n_epochs):
        ids = [one.ids[one.epochs == epoch] for one in batches]
        assert sorted(np.concatenate(ids).tolist()) == list(range(length))
    assert sum(len(one) for one in batches) == length * n_epochs


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5), SHUFFLES)
def test_with_drop_last_an_epoch_holds_every_item_at_most_once(length, size, n_epochs, kind):
    size = min(size, length)
    walk = Walk(
        DatasetIndex(length), size, n_epochs=n_epochs, shuffle=shuffler(kind), drop_last=True
    )
    expected = walk.batches
    batches = list(walk)
    assert len(batches) == expected == n_epochs * (length // size)
    for epoch in range(n_epochs):
        own = [one for one in batches if epoch in one.epochs]
        assert all((one.epochs == epoch).all() and len(one) == size for one in own)
        ids = [id for one in own for id in one.ids.tolist()]
        assert len(ids) == len(set(ids)) == length // size * size


@given(st.integers(1, 30), st.integers(1, 12), st.booleans(), SHUFFLES, st.data())
def test_a_walk_goes_on_exactly_from_its_state(length, size, drop_last, kind, data):
    if kind is np.random.permutation:
        kind = sorted  # what a function draws from elsewhere is its own affair
    size = min(size, length) if drop_last else size
    options = {"n_epochs": 4, "drop_last": drop_last, "seed": 5}
    walk = Walk(DatasetIndex(length), size, shuffle=shuffler(kind), **options)
    done = data.draw(st.integers(0, walk.batches or 0))
    last = None
    for _ in range(done):
        last = next(walk)
    state = json.loads(json.dumps(walk.state))
    if last is not None:
        assert walk.state_at(last.after) == state
    again = Walk(DatasetIndex(length), size, shuffle=shuffler(kind), start=state, **options)
    rest, others = list(walk), list(again)
    assert [one.ids.tolist() for one in rest] == [one.ids.tolist() for one in others]
    assert [one.iteration for one in others] == list(range(done, done + len(rest)))


def test_shuffling_by_a_seed_is_the_keyed_permutation_of_records():
    every = np.arange(20)
    expected = [permuted(9, epoch, 20, every).tolist() for epoch in range(3)]
    for options in ({"shuffle": True, "seed": 9}, {"shuffle": 9}, {"shuffle": np.int64(9)}):
        assert ids_of(Walk(DatasetIndex(20), 20, n_epochs=3, **options)) == expected


def test_epochs_of_a_shuffled_walk_differ_in_order():
    orders = ids_of(Walk(DatasetIndex(30), 30, n_epochs=5, shuffle=True))
    assert len({tuple(one) for one in orders}) == 5


def test_generators_of_one_seed_give_one_order_and_of_two_another():
    orders = [
        ids_of(Walk(DatasetIndex(30), 30, shuffle=np.random.default_rng(seed)))
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_a_function_shuffles_each_epoch_by_the_ids():
    index = DatasetIndex(["a", "b", "c"])
    assert ids_of(Walk(index, 4, n_epochs=2, shuffle=lambda ids: sorted(ids, reverse=True))) == [
        ["c", "b", "a", "c"],
        ["b", "a"],
    ]


@pytest.mark.parametrize("given", [[0, 0, 1], [0, 1], [0, 1, 7], None, 3])
def test_a_function_that_loses_or_repeats_items_is_refused(given):
    with pytest.raises(DataError, match="return all the ids"):
        list(Walk(DatasetIndex(3), 2, shuffle=lambda ids: given))


def test_n_iters_ends_a_walk_and_alone_makes_epochs_follow_one_another():
    assert ids_of(Walk(DatasetIndex(2), 2, n_iters=3)) == [[0, 1]] * 3
    assert len(ids_of(Walk(DatasetIndex(2), 2, n_iters=3, n_epochs=2))) == 2
    assert Walk(DatasetIndex(2), 2, n_iters=3, n_epochs=2).batches == 2
    assert Walk(DatasetIndex(2), 2, n_epochs=None).batches is None


def test_no_epoch_and_no_iteration_is_no_batch():
    assert ids_of(Walk(DatasetIndex(2), 2, n_epochs=0)) == []
    assert ids_of(Walk(DatasetIndex(2), 2, n_iters=0)) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size is a whole number"),
        ({"batch_size": 2.5}, "batch_size is a whole number"),
        ({"batch_size": True}, "batch_size is a whole number"),
        ({"n_epochs": -1}, "n_epochs"),
        ({"n_iters": 1.5}, "n_iters"),
        ({"shuffle": "yes"}, "shuffle is True, False"),
        ({"batch_size": 9, "drop_last": True}, "leave out all of the 4 items"),
        ({"start": {"epoch": 1}}, "goes on from its `state`"),
        ({"start": Position(0, 4, 0)}, "outside an index of 4"),
    ],
)
def test_what_makes_no_sense_is_refused(options, said):
    with pytest.raises(DataError, match=said):
        Walk(DatasetIndex(4), **{"batch_size": 2, **options})


def test_a_long_walk_is_the_whole_permutation():
    ids = np.concatenate([one.ids for one in Walk(DatasetIndex(100_000), 999, shuffle=True)])
    np.testing.assert_array_equal(ids, permuted(0, 0, 100_000, np.arange(100_000)))


def test_next_batches_follow_one_another_until_reset():
    puller = Puller(DatasetIndex(5))
    assert [puller.take(n, n_epochs=1).ids.tolist() for n in (2, 1, 3)] == [[0, 1], [2], [3, 4]]
    with pytest.raises(StopIteration, match="reset"):
        puller.take(2, n_epochs=1)
    puller.reset()
    assert puller.take(2).ids.tolist() == [0, 1]
    with pytest.raises(DataError, match="begun with another shuffle"):
        puller.take(2, shuffle=True)

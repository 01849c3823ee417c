"""Batches of another size: the same items in the same order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.batches.batch import Batch
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.datasets.walk import Walk
from dovetail.data.pipeline.flow import begun
from dovetail.data.pipeline.rebatching import rebatched


class Pieces(Batch):
    components = ("x",)


def stream(dataset, sizes, load=True):
    walk = Walk(dataset.index, 1, n_epochs=None)
    for size in sizes:
        selection = walk.take(size)
        batch = dataset.create_batch(selection)
        if load:
            batch.x  # noqa: B018  (read now, so that it is cut with the batch)
        yield begun(batch, selection, len(dataset))


def data(count=7):
    return Dataset(count, Pieces, preloaded=(np.arange(count) * 10,))


@given(st.lists(st.integers(1, 6), max_size=8), st.integers(1, 9), st.booleans(), st.booleans())
def test_it_is_the_sequence_of_items_cut_anew(sizes, size, drop_last, load):
    dataset = data()
    items = [number % 7 for number in range(sum(sizes))]
    expected = [items[at : at + size] for at in range(0, len(items), size)]
    if drop_last and expected and len(expected[-1]) < size:
        expected.pop()
    made = [one.batch for one in rebatched(stream(dataset, sizes, load), size, drop_last)]
    assert [batch.indices.tolist() for batch in made] == expected
    assert [batch.x.tolist() for batch in made] == [[10 * n for n in one] for one in expected]
    assert [batch.iteration for batch in made] == list(range(len(made)))


@given(st.lists(st.integers(1, 6), max_size=8), st.integers(1, 9), st.integers(0, 9))
def test_each_batch_says_from_where_the_next_one_is_made(sizes, size, taken):
    dataset = data()
    whole = list(rebatched(stream(dataset, sizes), size))
    if taken == 0 or taken >= len(whole):
        return
    last = whole[taken - 1]
    assert last.before is not None
    rest = list(stream(dataset, sizes))[last.before.iteration :]
    again = rebatched(iter(rest), size, given=last.given, batches=last.batches)
    assert [one.batch.indices.tolist() for one in again] == [
        one.batch.indices.tolist() for one in whole[taken:]
    ]


def test_epochs_of_the_items_go_along():
    (one,) = rebatched(stream(data(3), [2, 2]), 4)
    assert one.batch.epochs.tolist() == [0, 0, 0, 1]

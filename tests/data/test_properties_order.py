"""Whoever reads, however the reading is cut: an epoch is every example, once, in one order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.example_random import example_seeds
from dovetail.data.feed import RecordFeed
from dovetail.data.order import batch_indices, permuted
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema

ROWS = 41


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    path = tmp_path_factory.mktemp("order") / "records"
    with RecordWriter(path, Schema([Field("number", (), "int64")]), shard_bytes=100) as writer:
        for number in range(ROWS):
            writer.append((number,))
    return Records(path)


LENGTHS = st.one_of(st.integers(1, 300), st.integers(1, 20_000))


@given(LENGTHS, st.integers(-(2**70), 2**70), st.integers(0, 2**62))
def test_the_order_is_a_permutation_for_any_length_seed_and_epoch(length, seed, epoch):
    order = permuted(seed, epoch, length, np.arange(length))
    np.testing.assert_array_equal(np.sort(order), np.arange(length))


@given(st.integers(1, 2**62 - 1), st.integers(-(2**63), 2**63), st.integers(0, 2**40), st.data())
def test_positions_of_sets_too_long_to_list_lead_to_different_examples(length, seed, epoch, data):
    positions = data.draw(
        st.lists(st.integers(0, length - 1), min_size=1, max_size=50, unique=True)
    )
    examples = permuted(seed, epoch, length, np.array(positions))
    assert len(set(examples.tolist())) == len(positions)
    assert 0 <= examples.min() <= examples.max() < length


def drawn(rows):
    """An input_fn that shows which examples came, and what augmentation would draw for them."""
    return {"number": rows["number"], "seeds": rows.seeds, "noise": rows.uniform(shape=(2,))}


@st.composite
def readings(draw):
    """Some ways of reading two epochs: batch sizes, where one takes over from another, workers."""
    stops = sorted(draw(st.lists(st.integers(1, 2 * ROWS - 1), max_size=3, unique=True)))
    legs = []
    for start, stop in zip([0, *stops], [*stops, 2 * ROWS], strict=True):
        legs.append((start, stop, draw(st.integers(1, 50)), draw(st.integers(1, 7))))
    return legs


@given(readings(), st.integers(0, 2**64), st.booleans(), st.sampled_from([0, 2]))
def test_the_union_of_what_workers_read_is_the_epoch_in_order(
    records, legs, seed, shuffle, prefetch
):
    """Also where the size of batches, or the number of workers, changes midway."""
    found: dict[str, list[np.ndarray]] = {"number": [], "seeds": [], "noise": []}
    for start, stop, batch_size, workers in legs:
        feeds = [
            iter(
                RecordFeed(
                    records,
                    batch_size,
                    seed=seed,
                    shuffle=shuffle,
                    input_fn=drawn,
                    start=start,
                    stop=stop,
                    prefetch=prefetch,
                    worker=worker,
                    workers=workers,
                )
            )
            for worker in range(workers)
        ]
        position = start
        for shares in zip(*feeds, strict=True):
            position = min(position + batch_size, stop)
            assert {share.position_after for share in shares} == {position}
            assert max(share.count for share in shares) - min(share.count for share in shares) <= 1
            for share in shares:
                assert (share.features is None) == (share.count == 0)
                for name, column in (share.features or {}).items():
                    assert len(column) == share.count
                    found[name].append(column.numpy())
    numbers, seeds, noise = (np.concatenate(found[name]) for name in ("number", "seeds", "noise"))
    np.testing.assert_array_equal(numbers, batch_indices(seed, ROWS, 0, 2 * ROWS, shuffle))
    for epoch in (0, 1):
        once = slice(epoch * ROWS, (epoch + 1) * ROWS)
        np.testing.assert_array_equal(np.sort(numbers[once]), np.arange(ROWS))
        np.testing.assert_array_equal(seeds[once], example_seeds(seed, epoch, numbers[once]))
    # Against an example's numbers wherever else it is drawn for: alone, in a batch of one.
    at = len(numbers) // 3
    alone = records.rows([int(numbers[at])], seed=seed, epoch=at // ROWS)
    np.testing.assert_array_equal(alone.uniform(shape=(2,))[0], noise[at])


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(0, 99))
def test_the_position_is_exact_when_the_batch_size_changes_at_every_batch(records, sizes, seed):
    position, read = 0, []
    for size in sizes:
        fed = next(iter(RecordFeed(records, size, seed=seed, start=position, prefetch=0)))
        position = fed.position_after
        read.append(fed.features["number"].numpy())
    assert position == sum(sizes)
    np.testing.assert_array_equal(np.concatenate(read), batch_indices(seed, ROWS, 0, position))


def test_a_view_keeps_each_row_s_own_number_and_so_its_augmentation(records):
    view = records.select([7, 3, 30])
    whole = records.rows(np.arange(ROWS), seed=2, epoch=1)
    np.testing.assert_array_equal(
        view.rows([2, 0], seed=2, epoch=1).seeds, whole.seeds[np.array([30, 7])]
    )


def test_a_plain_gather_s_rows_are_those_of_seed_and_epoch_0(records):
    np.testing.assert_array_equal(records.rows([4, 9]).seeds, example_seeds(0, 0, np.array([4, 9])))

"""Ids and positions of a data set's items, and its division into parts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.datasets.index import DatasetIndex
from dovetail.errors import DataError


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        (3, [0, 1, 2]),
        (np.int64(2), [0, 1]),
        ([5, 3, 9], [5, 3, 9]),
        (["b", "a"], ["b", "a"]),
        (("x", 1), ["x", 1]),
        (np.array([2.5, 1.5]), [2.5, 1.5]),
        (range(4, 7), [4, 5, 6]),
        (torch.tensor([4, 2]), [4, 2]),
        ([("a", 1), ("a", 2)], [("a", 1), ("a", 2)]),
        (lambda: 2, [0, 1]),
        (lambda: ["q"], ["q"]),
        (DatasetIndex([7, 8]), [7, 8]),
    ],
)
def test_an_index_is_made_from_a_length_ids_or_a_function(given, ids):
    index = DatasetIndex(given)
    assert index.indices.tolist() == list(index) == ids
    assert len(index) == len(ids)
    assert [index.get_pos(one) for one in ids] == list(range(len(ids)))
    assert all(one in index for one in ids)
    assert "no such" not in index


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([3, 1, 3], "3 comes at positions 0 and 2"),
        (["a", "b", "a"], "'a' comes at positions 0 and 2"),
        ([], "at least one item"),
        (0, "at least one item"),
        (-2, "at least one item"),
        (lambda: [], "at least one item"),
        ("abc", "got str"),
        (2.5, "got float"),
        (None, "got NoneType"),
        (True, "got bool"),
        ({1, 2}, "got set"),
        (np.zeros((2, 2)), "one dimension"),
        ([[1], [2]], "hashable"),
    ],
)
def test_repeated_ids_none_at_all_and_other_nonsense_are_refused(given, said):
    with pytest.raises(DataError, match=said):
        DatasetIndex(given)


def test_an_id_that_does_not_equal_itself_is_refused():
    with pytest.raises(DataError, match="item 1 is nan"):
        DatasetIndex([1.0, float("nan"), float("nan")])


def test_positions_of_several_ids_and_an_unknown_one():
    index = DatasetIndex(["ann", "bob", "eve"])
    assert index.get_pos(["eve", "ann"]).tolist() == [2, 0]
    with pytest.raises(DataError, match=r"no item 'bobb'. Did you mean 'bob'"):
        index.get_pos("bobb")
    with pytest.raises(DataError, match="no item 3"):
        DatasetIndex(3).get_pos(3)
    with pytest.raises(DataError, match=r"no item -1\."):
        DatasetIndex(3).get_pos(np.array([2, -1]))


def test_an_index_of_very_many_items_takes_no_memory_for_them():
    index = DatasetIndex(10**12)
    assert index.get_pos(np.array([5, 10**11])).tolist() == [5, 10**11]
    assert "1000000000000 items: 0, 1" in repr(index)
    assert len(set(index.next_batch(100, shuffle=True).tolist())) == 100


def test_the_ids_can_not_be_written_to():
    for index in (DatasetIndex(3), DatasetIndex([4, 5])):
        with pytest.raises(ValueError, match="read-only"):
            index.indices[0] = 9


def test_the_ids_of_an_index_are_its_own():
    ids = np.array([1, 2, 3])
    index = DatasetIndex(ids)
    ids[0] = 9
    assert index.indices.tolist() == [1, 2, 3]


def test_subsets_are_by_position_or_by_id_in_the_order_given():
    index = DatasetIndex(["a", "b", "c", "d"])
    assert index.subset_by_pos([3, 1]).indices.tolist() == ["d", "b"]
    assert index.subset_by_pos(slice(1, 3)).indices.tolist() == ["b", "c"]
    assert index.subset_by_pos(np.array([True, False, False, True])).indices.tolist() == ["a", "d"]
    assert index.subset_by_pos(-1).indices.tolist() == ["d"]
    assert index.create_subset(["d", "a"]).indices.tolist() == ["d", "a"]
    assert index.create_subset(DatasetIndex(["c"])).indices.tolist() == ["c"]
    assert DatasetIndex(9).subset_by_pos([8, 2]).get_pos(2) == 1


@pytest.mark.parametrize(("pos", "said"), [([9], "0 to 3"), ([], "at least one"), ([1, 1], "uniq")])
def test_a_subset_of_what_is_not_there_or_twice_is_refused(pos, said):
    with pytest.raises(DataError, match=said):
        DatasetIndex(4).subset_by_pos(pos)


@given(
    st.integers(10, 60),
    st.sampled_from([0.5, [0.5, 0.5], [0.4, 0.3], [0.6, 0.2, 0.2], [0.5, 0.1, 0.1]]),
    st.sampled_from([True, False, 5]),
    st.integers(0, 3),
)
def test_parts_of_a_split_hold_no_item_twice_and_have_their_shares(length, shares, shuffle, seed):
    index = DatasetIndex([f"item {n}" for n in range(length)])
    split = index.split(shares, shuffle=shuffle, seed=seed)
    assert (index.train, index.test, index.validation) == tuple(split)
    given = [shares] if isinstance(shares, float) else shares
    given = [*given, 1 - sum(given)][:3] if len(given) < 3 else given
    found = []
    for part, share in zip(split, [*given, 0][:3], strict=True):
        ids = [] if part is None else part.indices.tolist()
        assert abs(len(ids) - share * length) <= 1
        assert index.get_pos(ids).tolist() == sorted(index.get_pos(ids))
        found += ids
    assert len(found) == len(set(found))
    if abs(sum(given) - 1) < 1e-9:
        assert set(found) == set(index)


def test_a_split_depends_on_its_seed_alone():
    splits = [DatasetIndex(50).split(seed=seed).test.indices.tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]
    assert DatasetIndex(10).split(0.8, shuffle=False).test.indices.tolist() == [8, 9]


@pytest.mark.parametrize("shares", [0, 1.2, [0.5, 0.6], [], [0.1] * 4, -0.5, ["half"], [0, 1]])
def test_shares_that_make_no_sense_are_refused(shares):
    with pytest.raises(DataError, match="share"):
        DatasetIndex(10).split(shares)


def test_a_share_of_less_than_one_item_is_refused():
    with pytest.raises(DataError, match="0.1 of 3 items for validation"):
        DatasetIndex(3).split([0.5, 0.4, 0.1])


@given(st.integers(2, 40), st.integers(2, 10), st.booleans())
def test_each_item_is_tested_in_one_fold_and_trained_on_in_all_others(length, n_folds, shuffle):
    n_folds = min(n_folds, length)
    folds = DatasetIndex(length).folds(n_folds, shuffle=shuffle, seed=2)
    assert len(folds) == n_folds
    tests = [id for fold in folds for id in fold.test]
    assert sorted(tests) == list(range(length))
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == list(range(length))
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n_folds", [1, 6, 2.5, True])
def test_a_number_of_folds_that_makes_no_sense_is_refused(n_folds):
    with pytest.raises(DataError, match="n_folds is from 2 to the number of items, 5"):
        DatasetIndex(5).cv_split(n_folds=n_folds)


def test_cv_split_is_split_or_folds():
    index = DatasetIndex(10)
    assert index.cv_split(0.7).train.indices.tolist() == index.split(0.7).train.indices.tolist()
    assert len(index.cv_split(n_folds=5)) == 5


def test_batches_of_ids_and_the_next_one():
    index = DatasetIndex(["a", "b", "c"])
    assert [one.tolist() for one in index.gen_batch(2)] == [["a", "b"], ["c"]]
    assert [index.next_batch(2).tolist() for _ in range(2)] == [["a", "b"], ["c", "a"]]
    index.reset()
    assert index.next_batch(1).tolist() == ["a"]

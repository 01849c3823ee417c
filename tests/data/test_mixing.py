"""Several sources as one stream: even, exact from any position, and each source whole."""

import math
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.feed import RecordFeed
from dovetail.data.mixing import Mixed
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

SCHEMA = Schema([Field("n", (), "int64"), Field("text", (), "string"), Field("x", (3,), "uint8")])


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Names to sets of 40, 7, 100, 3 and 11 rows, whose numbers begin at a thousand each."""
    place = tmp_path_factory.mktemp("mixing")
    made = {}
    for number, (name, count) in enumerate(zip("abcde", (40, 7, 100, 3, 11), strict=True)):
        with RecordWriter(place / name, SCHEMA, shard_bytes=300) as writer:
            for row in range(count):
                writer.append((1000 * number + row, f"{name}{row}", [row] * 3))
        made[name] = Records(place / name)
    return made


def chosen(sources, names):
    return {name: sources[name] for name in names}


@given(st.data())
def test_any_examples_in_a_row_hold_each_source_by_its_weight(sources, data):
    names = data.draw(st.lists(st.sampled_from("abcde"), min_size=1, unique=True))
    weights = {name: data.draw(st.floats(0.01, 100)) for name in names}
    mixed = Mixed(chosen(sources, names), weights)
    seed, start = data.draw(st.integers(0, 99)), data.draw(st.integers(0, 10**12))
    count = data.draw(st.integers(1, 400))
    rows = mixed.examples(seed, start, count, data.draw(st.booleans()))
    found = Counter(mixed.source(row)[0] for row in rows)
    bound = 2 + sum(1 / k for k in range(1, len(names)))
    for name in names:
        share = weights[name] / sum(weights.values())
        # Shares are kept to a millionth, which counts from the run's beginning nowhere.
        assert abs(found[name] - share * count) <= bound + 1e-5 * count


def test_shares_such_as_seven_to_three_are_exact(sources):
    mixed = Mixed(chosen(sources, "ac"), {"a": 0.7, "c": 0.3})
    rows = mixed.examples(3, 10**9, 100_000)
    assert np.count_nonzero(rows < 40) == 70_000


@given(st.data())
def test_what_comes_at_a_position_does_not_depend_on_where_one_starts(sources, data):
    mixed = Mixed(chosen(sources, "abc"), {"a": 5, "b": 2, "c": 1})
    seed, shuffle = data.draw(st.integers(0, 9)), data.draw(st.booleans())
    whole = mixed.examples(seed, 0, 700, shuffle)
    start = data.draw(st.integers(0, 699))
    count = data.draw(st.integers(0, 700 - start))
    part = mixed.examples(seed, start, count, shuffle)
    np.testing.assert_array_equal(part, whole[start : start + count])


def test_each_source_goes_through_its_own_epochs_whole(sources):
    mixed = Mixed(chosen(sources, "abd"), {"a": 4, "b": 2, "d": 1})
    rows = mixed.examples(1, 0, 1000)
    for name, size in [("a", 40), ("b", 7), ("d", 3)]:
        of = [row for source, row in map(mixed.source, rows) if source == name]
        epochs = [of[at : at + size] for at in range(0, len(of) - size, size)]
        assert len(epochs) > 3
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert epochs[0] != epochs[1] or size < 4


def test_seeds_give_different_mixtures_and_names_not_order_decide(sources):
    mixed = Mixed(chosen(sources, "ac"), {"a": 1, "c": 2})
    assert mixed.examples(0, 0, 50).tolist() != mixed.examples(1, 0, 50).tolist()
    turned = Mixed(chosen(sources, "ca"), {"a": 1, "c": 2})
    rows = [mixed.source(row) for row in mixed.examples(0, 0, 50)]
    assert [turned.source(row) for row in turned.examples(0, 0, 50)] == rows


def test_without_weights_each_row_counts_alike(sources):
    mixed = Mixed(chosen(sources, "abc"))
    assert len(mixed) == 147
    assert mixed.weights == pytest.approx({"a": 40 / 147, "b": 7 / 147, "c": 100 / 147})
    epoch = mixed.examples(0, 0, 147)
    assert sorted(epoch.tolist()) == list(range(147))


def test_rows_are_those_of_the_sources(sources):
    mixed = Mixed(chosen(sources, "bc"), {"b": 1, "c": 1})
    rows = mixed.examples(2, 5, 30)
    batch = mixed.gather(rows)
    for at, (name, row) in enumerate(map(mixed.source, rows)):
        expected = sources[name].gather([row])
        assert batch["text"][at] == expected["text"][0] == f"{name}{row}"
        assert batch["x"][at].tolist() == [row] * 3
    assert mixed.gather(rows, ["text"]) == {"text": batch["text"]}
    assert mixed.gather([])["x"].shape == (0, 3)
    assert mixed.rows(rows)["text"] == batch["text"]
    with pytest.raises(IndexError):
        mixed.gather([107])
    mixed.verify()


def test_a_feed_of_a_mixture_resumes_exactly(sources):
    mixed = Mixed(chosen(sources, "abc"), {"a": 3, "b": 2, "c": 1})
    whole = [fed.features["n"].tolist() for fed in RecordFeed(mixed, 8, seed=4, stop=320)]
    rest = RecordFeed(mixed, 8, seed=4, start=160, stop=320)
    assert [fed.features["n"].tolist() for fed in rest] == whole[20:]
    assert not [one for one in threading.enumerate() if one.name == "dovetail-prefetch"]


def test_a_row_is_named_by_source_shard_and_row(sources):
    mixed = Mixed(chosen(sources, "ab"), {"a": 1, "b": 1})
    assert mixed.where(41) == f"{sources['b'].path}/{sources['b'].where(1)}"
    assert str(sources["a"].path) in mixed.path
    with pytest.raises(DataError, match="/b/shard-.*row .: field 'text'"):
        mixed.rows([46]).images("text")


def test_a_view_has_the_rows_chosen(sources):
    mixed = Mixed(chosen(sources, "ab"), {"a": 1, "b": 1})
    view = mixed.select([45, 3]).select([1, 0])
    assert view.gather([0, 1])["n"].tolist() == [3, 1005]
    assert sorted(view.examples(0, 0, 2).tolist()) == [0, 1]
    assert view.source(1) == ("b", 5)
    assert len({view.fingerprint, mixed.fingerprint}) == 2


def test_the_fingerprint_knows_sources_and_weights(sources):
    made = [
        Mixed(chosen(sources, "ab"), {"a": 1, "b": 1}),
        Mixed(chosen(sources, "ab"), {"a": 2, "b": 1}),
        Mixed(chosen(sources, "ac"), {"a": 1, "c": 1}),
    ]
    assert len({one.fingerprint for one in made}) == 3
    assert Mixed(chosen(sources, "ab"), {"a": 4, "b": 4}).fingerprint == made[0].fingerprint


def test_which_examples_come_never_changes(sources):
    # Golden: a run that resumes with a later version must go on with the same examples.
    mixed = Mixed(chosen(sources, "abc"), {"a": 3, "b": 2, "c": 1})
    assert mixed.examples(7, 1000, 12).tolist() == GOLDEN


GOLDEN = [103, 14, 43, 19, 46, 11, 96, 5, 43, 33, 44, 29]


@pytest.mark.parametrize("weight", [0, -1, math.inf, math.nan, None, True])
def test_a_weight_that_makes_no_share_is_refused(sources, weight):
    weights = {"a": 1, "b": weight} if weight is not None else {"a": 1}
    with pytest.raises(DataError, match="weight above 0; got .* for 'b'"):
        Mixed(chosen(sources, "ab"), weights)


def test_sources_that_do_not_go_together_are_refused(sources, tmp_path):
    with pytest.raises(DataError, match="weight for 'bb'.*mean 'b'"):
        Mixed(chosen(sources, "ab"), {"a": 1, "b": 1, "bb": 1})
    with pytest.raises(DataError, match="at least one source"):
        Mixed({})
    with pytest.raises(DataError, match="'none' .* holds no rows"):
        Mixed({"a": sources["a"], "none": sources["a"].select([])})
    with RecordWriter(tmp_path / "o", Schema([Field("n", (), "int32")])) as writer:
        writer.append((1,))
    with pytest.raises(DataError, match=r"'a' and 'o' are not of one schema(.|\n)*int64 \[\] here"):
        Mixed({"a": sources["a"], "o": Records(tmp_path / "o")})


def test_what_all_say_alike_is_the_metadata_and_classes_must_agree(tmp_path):
    made = {}
    for name, classes in [("a", ["x", "y"]), ("b", ["x", "y"]), ("c", ["y", "x"])]:
        metadata = {"classes": classes, "source": name}
        with RecordWriter(
            tmp_path / name, Schema([Field("n", (), "int32")]), metadata=metadata
        ) as writer:
            writer.append((1,))
        made[name] = Records(tmp_path / name)
    assert Mixed(chosen(made, "ab")).metadata == {"classes": ["x", "y"]}
    with pytest.raises(DataError, match="'a' and 'c' number their classes differently"):
        Mixed(chosen(made, "ac"))


@pytest.mark.parametrize("shuffle", [True, False])
def test_no_example_of_a_mixture_has_the_same_seed_twice(sources, shuffle):
    mixed = Mixed(chosen(sources, "abd"), {"a": 0.5, "b": 0.3, "d": 0.2})
    given = []
    feed = RecordFeed(
        mixed,
        17,
        stop=400,
        shuffle=shuffle,
        input_fn=lambda rows: given.extend(zip(rows["n"].tolist(), rows.seeds, strict=True)) or {},
    )
    assert sum(fed.count for fed in feed) == len(given) == 400
    assert len({seed for _, seed in given}) == 400
    # The fifth time that a row of source "d" comes is that source's fifth epoch.
    times = Counter(number for number, _ in given)
    assert {times[3000 + row] for row in range(3)} <= {26, 27}
    epochs = mixed.epochs(0, 0, 400, shuffle)
    rows = mixed.examples(0, 0, 400, shuffle)
    for row in np.unique(rows):
        np.testing.assert_array_equal(epochs[rows == row], np.arange((rows == row).sum()))
    np.testing.assert_array_equal(mixed.epochs(0, 100, 50, shuffle), epochs[100:150])

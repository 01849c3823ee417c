"""What `input_fn(records)` is given."""

import io

import numpy as np
import pytest
from PIL import Image

from dovetail.data.example_random import example_seeds
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.rows import Rows
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError


@pytest.fixture
def rows():
    return Rows({"x": np.arange(6).reshape(3, 2), "name": ["a", "b", "c"]})


def test_page_4_s_loop_over_rows_works(rows):
    gathered = [row["x"].astype(np.float32) for row in rows]
    np.testing.assert_array_equal(np.stack(gathered), rows["x"])
    assert len(rows) == 3


def test_rows_are_there_by_position_and_slice(rows):
    assert rows[-1]["name"] == "c"
    assert [row["name"] for row in rows[:2]] == ["a", "b"]
    with pytest.raises(IndexError):
        rows[3]


def test_what_is_written_to_a_row_is_there_the_next_time(rows):
    rows[0]["x"][:] = 9
    rows[1]["name"] = "new"
    rows[2]["more"] = 1
    assert rows["x"][0].tolist() == [9, 9]
    assert [row["name"] for row in rows] == ["a", "new", "c"]
    assert rows[2]["more"] == 1


def test_an_unknown_field_is_named_with_the_nearest(rows):
    with pytest.raises(DataError, match="no field 'nam'.*Did you mean 'name'"):
        rows["nam"]


def ragged(place):
    schema = Schema([Field("tokens", (None, 2), "int64"), Field("picture", (), "bytes")])
    with RecordWriter(place, schema, shard_bytes=1) as writer:
        for length in range(5):
            file = io.BytesIO()
            Image.new("RGB", (3, 2), (length, 0, 0)).save(file, "png")
            bad = file.getvalue()[:40] if length == 3 else file.getvalue()
            writer.append({"tokens": np.full((length, 2), length), "picture": bad})
    return Records(place)


def test_a_ragged_field_is_padded_with_a_mask_of_the_dimensions_that_vary(tmp_path):
    tokens, mask = ragged(tmp_path / "r").rows([4, 2]).padded("tokens", value=-1)
    assert tokens.shape == (2, 4, 2)
    assert tokens[:, :, 0].tolist() == [[4, 4, 4, 4], [2, 2, -1, -1]]
    assert mask.tolist() == [[True] * 4, [True, True, False, False]]


def test_what_cannot_be_padded_names_shard_and_row(tmp_path):
    rows = ragged(tmp_path / "r").rows([2, 4])
    with pytest.raises(DataError, match="shard-00004.arrow row 0: field 'tokens' is of size 4"):
        rows.padded("tokens", sizes=[3, None])
    with pytest.raises(DataError, match="rows are of bytes"):
        rows.padded("picture")


def test_encoded_images_are_decoded_and_a_bad_one_names_shard_and_row(tmp_path):
    records = ragged(tmp_path / "r")
    pictures = records.rows([4, 0, 2]).images("picture")
    assert pictures.shape == (3, 2, 3, 3)
    assert pictures[:, 0, 0, 0].tolist() == [4, 0, 2]
    assert records.rows([1]).images("picture", (4, 4), channels=1).shape == (1, 4, 4, 1)
    with pytest.raises(DataError, match="shard-00003.arrow row 0: field 'picture' holds no image"):
        records.rows([4, 0, 3]).images("picture")


def test_the_first_rows_can_be_looked_at(tmp_path):
    records = ragged(tmp_path / "r")
    assert [len(row["tokens"]) for row in records.head(2)] == [0, 1]
    assert len(records.head(99)) == 5


def test_each_call_draws_anew_and_seeds_stand_for_the_rows(rows):
    one, two = rows.uniform(-1, 1, (2,)), rows.uniform(-1, 1, (2,))
    assert (one.shape, one.dtype) == ((3, 2), np.float32)
    assert (one != two).all()
    assert rows.integers(0, 2**62).dtype == np.int64
    assert rows.seeds.tolist() == example_seeds(0, 0, np.arange(3)).tolist()
    with pytest.raises(ValueError, match="read-only"):
        rows.seeds[0] = 1


def test_a_row_draws_the_same_in_whatever_batch_it_comes():
    def drawn(numbers):
        rows = Rows({"x": np.zeros(len(numbers))}, numbers=np.array(numbers), seed=4, epoch=2)
        own = [[rows.random(at).random(), rows.random(at).random()] for at in range(len(numbers))]
        values = np.column_stack([rows.uniform(), rows.integers(0, 9), own, rows.uniform()])
        return dict(zip(numbers, values.tolist(), strict=True))

    whole = drawn([5, 3, 9])
    assert len({value for row in whole.values() for value in row if value % 1}) == 12
    assert drawn([9]) == {9: whole[9]}
    assert drawn([3, 9, 5]) == whole


def test_a_row_that_is_not_there_has_no_generator(rows):
    with pytest.raises(IndexError):
        rows.random(3)
    assert rows.random(-1).random() != rows.random(2).random()

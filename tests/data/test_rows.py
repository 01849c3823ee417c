"""What `input_fn(records)` is given."""

import numpy as np
import pytest

from dovetail.data.rows import Rows
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

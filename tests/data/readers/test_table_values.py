"""Arrow arrays, whole and sliced, as one value a row."""

import numpy as np
import pyarrow as pa
import pytest

from dovetail.data.readers.table_values import first_null, values_of
from dovetail.errors import DataError

TENSOR = pa.fixed_shape_tensor(pa.int8(), [2, 2])
LISTS = pa.list_(pa.list_(pa.int32()))
ARRAYS = [
    pa.array([1, 2, 3, 4], pa.uint8()),
    pa.array([1.5, 2.5, 0.1, 4], pa.float64()),
    pa.array([True, False, True, True]),
    pa.array(["a", "ä", "", "x"]),
    pa.array(["a", "ä", "", "x"], pa.large_string()),
    pa.array([b"a", b"\xff", b"", b"x"]),
    pa.array(["a", "b", "a", "a"]).dictionary_encode(),
    pa.array([[1, 2], [], [3], [4, 5, 6]]),
    pa.array([[1, 2], [], [3], [4, 5, 6]], pa.large_list(pa.float32())),
    pa.array([[1, 2], [3, 4], [5, 6], [7, 8]], pa.list_(pa.int8(), 2)),
    pa.array([[[1, 2], [3, 4]], [], [[5, 6]], [[7], [8]]], LISTS),
    pa.array([["a"], ["b", "c"], [], ["d"]]),
    pa.array([["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]], pa.list_(pa.string(), 2)),
    pa.array([[[1, 2]], [], [[3, 4], [5, 6]], [[7, 8]]], pa.list_(pa.list_(pa.int8(), 2))),
    pa.ExtensionArray.from_storage(
        TENSOR, pa.array([[1, 2, 3, 4], [5, 6, 7, 8]] * 2, TENSOR.storage_type)
    ),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: str(a.type))
@pytest.mark.parametrize("cut", [slice(None), slice(1, None), slice(1, 3), slice(2, 2)])
def test_values_are_the_rows_also_of_a_slice(array, cut):
    part = array[cut]
    values = [getattr(one, "tolist", lambda one=one: one)() for one in values_of(part, "x")]
    expected = part.to_pylist()
    if array.type == TENSOR:
        expected = [np.reshape(row, (2, 2)).tolist() for row in expected]
    assert values == expected
    assert first_null(part) is None


def test_run_ends_and_times_are_resolved():
    runs = pa.RunEndEncodedArray.from_arrays([2, 3], [7, 8])
    assert values_of(runs, "x").tolist() == [7, 7, 8]
    moments = pa.array([0, 86400], pa.timestamp("s"))
    assert values_of(moments, "x").tolist() == [0, 86400]
    assert values_of(pa.array([3], pa.date32()), "x").dtype == np.int64


@pytest.mark.parametrize(
    ("array", "row"),
    [
        (pa.array([1, None]), 1),
        (pa.array([[1], [2, None], [None]]), 1),
        (pa.array([[1], [], [2, None]]), 2),
        (pa.array([[1, 2], [3, None]], pa.list_(pa.int8(), 2)), 1),
        (pa.array([[[1]], [[2], [None]]], LISTS), 1),
        (pa.array(["a", None]).dictionary_encode(), 1),
        (pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None])), 1),
        (pa.RunEndEncodedArray.from_arrays([2, 3], pa.array([7, None])), 2),
        (pa.array([[9], [1], [2, None], [None]])[1:], 1),
    ],
    ids=str,
)
def test_the_first_row_with_a_null_is_found_however_deep(array, row):
    assert first_null(array) == row


def test_lists_that_are_no_array_are_refused():
    with pytest.raises(DataError, match=r"here holds lists .*\(1 and 2\)"):
        values_of(pa.array([[[1], [2, 3]]], LISTS), "here")

"""Arrow's types as shapes and dtypes."""

import pyarrow as pa
import pytest

from dovetail.data.readers.table_types import (
    ColumnType,
    flat_columns,
    flat_names,
    joined,
    type_of,
)
from dovetail.errors import DataError


@pytest.mark.parametrize(
    ("arrow", "expected"),
    [
        (pa.uint16(), ((), "uint16")),
        (pa.float16(), ((), "float16")),
        (pa.bool_(), ((), "bool")),
        (pa.large_string(), ((), "string")),
        (pa.string_view(), ((), "string")),
        (pa.binary(4), ((), "bytes")),
        (pa.dictionary(pa.int8(), pa.string()), ((), "string")),
        (pa.run_end_encoded(pa.int32(), pa.int8()), ((), "int8")),
        (pa.large_list(pa.list_(pa.int8())), ((None, None), "int8")),
        (pa.list_(pa.string(), 3), ((3,), "string")),
        (pa.fixed_shape_tensor(pa.int8(), [2, 3]), ((2, 3), "int8")),
        (pa.fixed_shape_tensor(pa.int8(), [2, 3], permutation=[1, 0]), ((3, 2), "int8")),
        (pa.list_(pa.fixed_shape_tensor(pa.int8(), [2])), ((None, 2), "int8")),
    ],
)
def test_a_type_is_a_shape_and_a_dtype(arrow, expected):
    assert type_of(arrow, "x")[:2] == expected


def test_times_keep_their_unit():
    assert type_of(pa.timestamp("us", "UTC"), "x") == ((), "int64", "timestamp[us, tz=UTC]")
    assert type_of(pa.date32(), "x").unit == "date32[day]"


@pytest.mark.parametrize(
    ("arrow", "cure"),
    [
        (pa.null(), "no value at all"),
        (pa.decimal128(5, 2), "float64, or as text"),
        (pa.map_(pa.string(), pa.int8()), "Leave it out"),
        (pa.month_day_nano_interval(), "Leave it out"),
        (pa.list_view(pa.int8()), "Leave it out"),
    ],
)
def test_a_type_that_cannot_be_stored_is_refused_with_a_cure(arrow, cure):
    with pytest.raises(DataError, match=f"^here is of type .*{cure}"):
        type_of(arrow, "here")


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (((), "int8"), ((), "uint8"), ((), "int16")),
        (((), "int32"), ((), "float32"), ((), "float64")),
        (((2,), "int8"), ((None,), "int8"), ((None,), "int8")),
        (((), "int64"), ((), "float64"), None),
        (((), "int64"), ((), "uint64"), None),
        (((), "bool"), ((), "int8"), None),
        (((), "string"), ((), "bytes"), None),
        (((), "int8"), ((1,), "int8"), None),
        (((), "int64", "date64[ms]"), ((), "int64"), None),
    ],
)
def test_two_types_join_to_what_holds_both_exactly(one, other, both):
    expected = None if both is None else ColumnType(*both)
    assert joined(ColumnType(*one), ColumnType(*other)) == expected
    assert joined(ColumnType(*other), ColumnType(*one)) == expected


def test_parts_of_structs_are_columns_and_null_where_the_struct_is():
    rows = [{"a": {"b": 1, "c": {"d": "x"}}}, {"a": None}]
    batch = pa.RecordBatch.from_pylist([{**row, "e": 2.0} for row in rows])
    assert [name for name, _ in flat_names(batch.schema)] == ["a.b", "a.c.d", "e"]
    columns = {name: array.to_pylist() for name, array in flat_columns(batch).items()}
    assert columns == {"a.b": [1, None], "a.c.d": ["x", None], "e": [2.0, 2.0]}

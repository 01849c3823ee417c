"""The Arrow columns hold what Arrow's own tools give back."""

import numpy as np
import pyarrow as pa
import pytest

from dovetail.data.layout import arrow_array, arrow_schema, buffers, row_bytes
from dovetail.data.schema import Field, Schema


@pytest.mark.parametrize(
    ("field", "arrow_type"),
    [
        (Field("x", (), "int16"), pa.int16()),
        (Field("x", (), "bool"), pa.uint8()),
        (Field("x", (2, 3), "float16"), pa.fixed_shape_tensor(pa.float16(), [2, 3])),
        (Field("x", (), "string"), pa.large_string()),
        (Field("x", (), "bytes"), pa.large_binary()),
    ],
)
def test_types_are_arrow_s_own(field, arrow_type):
    assert arrow_schema(Schema([field])).field("x").type == arrow_type


@pytest.mark.parametrize(
    ("field", "rows"),
    [
        (Field("x", (), "int16"), [np.int16(1), np.int16(2)]),
        (Field("x", (None,), "float32"), [np.ones(2, np.float32), np.zeros(0, np.float32)]),
        (Field("x", (), "string"), ["é", ""]),
        (Field("x", (None,), "string"), [np.array(["a", "b"], object), np.array([], object)]),
    ],
)
def test_arrow_reads_the_values_back(field, rows):
    array = arrow_array(field, rows)
    array.validate(full=True)
    expected = [row.tolist() if isinstance(row, np.ndarray | np.generic) else row for row in rows]
    assert array.to_pylist() == expected


def test_arrays_of_more_dimensions_keep_their_shape_beside_their_values():
    field = Field("x", (None, 2), "int8")
    rows = [np.array([[1, 2], [3, 4]], np.int8), np.zeros((0, 2), np.int8)]
    assert arrow_array(field, rows).to_pylist() == [
        {"values": [1, 2, 3, 4], "shape": [2, 2]},
        {"values": [], "shape": [0, 2]},
    ]


def test_buffers_are_offsets_then_data_then_shapes():
    field = Field("x", (None, 2), "int8")
    offsets, data, shapes = buffers(field, arrow_array(field, [np.array([[5, 6]], np.int8)] * 2))
    assert offsets is not None
    assert data is not None
    assert shapes is not None
    assert np.frombuffer(offsets, np.int64)[:3].tolist() == [0, 2, 4]
    assert np.frombuffer(data, np.int8)[:4].tolist() == [5, 6, 5, 6]
    assert np.frombuffer(shapes, np.int64)[:4].tolist() == [1, 2, 1, 2]


def test_a_row_s_size_counts_text_in_utf_8():
    assert row_bytes({"a": np.zeros((2, 2), np.int16), "b": "é", "c": b"abc"}) == 8 + 10 + 11
    assert row_bytes({"a": np.array(["a", "bc"], object)}) == 8 + 9 + 10

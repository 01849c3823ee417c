"""Conversion loses nothing: compared with Python's own exact numbers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from dovetail.data.convert import NUMERIC_DTYPES, convert_value
from dovetail.data.schema import Field
from dovetail.errors import DataError


def exact(number):
    """A number as Python holds it, exactly; NaN as a text, since it equals nothing."""
    value = number.item()
    return "nan" if isinstance(value, float) and math.isnan(value) else value


@given(
    st.sampled_from(NUMERIC_DTYPES).flatmap(
        lambda dtype: numpy_strategies.arrays(dtype, numpy_strategies.array_shapes(min_dims=0))
    ),
    st.sampled_from(NUMERIC_DTYPES),
)
def test_numbers_stay_what_they_are_or_are_refused(array, dtype):
    field = Field("x", array.shape, dtype)
    before = [exact(number) for number in array.ravel()]
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
    lost = [exact(number) for number in cast.ravel()] != before
    try:
        result = convert_value(array, field, "f")
    except DataError:
        assert lost
        return
    assert isinstance(result, np.ndarray)
    assert (result.dtype, result.shape) == (field.numpy_dtype, array.shape)
    assert [exact(number) for number in result.ravel()] == before


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.uint8(7), "float32"),
        (3.0, "int64"),
        (1, "bool"),
        (True, "int8"),
        (2**24, "float32"),
        (math.inf, "float16"),
    ],
)
def test_a_value_that_the_field_can_hold_is_converted(value, dtype):
    assert convert_value(value, Field("x", (), dtype), "f") == value


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (300, "uint8"),
        (-1, "uint64"),
        (2**63, "int64"),
        (2**53 + 1, "float64"),
        (2**24 + 1, "float32"),
        (2.5, "int32"),
        (math.nan, "int32"),
        (np.float64(0.1), "float32"),
        (np.array([0.1]), "float32"),
        (1e60, "float32"),
        (2, "bool"),
        (1 + 2j, "float32"),
        ("3", "int8"),
        (None, "int8"),
        (2**70, "float64"),
        (np.datetime64("2020-01-01"), "int64"),
    ],
)
def test_a_value_that_would_change_is_refused(value, dtype):
    shape = np.shape(value)
    with pytest.raises(DataError, match=f"f.png: field 'x': {dtype}"):
        convert_value(value, Field("x", shape, dtype), "f.png")


def test_a_python_float_takes_the_field_s_precision():
    assert convert_value(0.1, Field("x", (), "float32"), "f") == np.float32(0.1)
    assert convert_value([0.1], Field("x", (1,), "float32"), "f") == np.float32(0.1)


@pytest.mark.parametrize(
    ("have", "want", "accepted"),
    [
        ((), (1,), True),
        ((1,), (), True),
        ((28, 28), (28, 28, 1), True),
        ((1, 28, 28), (28, 28), True),
        ((5, 2), (None, 2), True),
        ((0, 2), (None, 2), True),
        ((28, 28), (784,), False),
        ((2, 3), (3, 2), False),
        ((5, 3), (None, 2), False),
        ((5,), (None, 1), False),
    ],
)
def test_sizes_of_one_come_and_go_and_no_other(have, want, accepted):
    field = Field("x", want, "int8")
    array = np.arange(math.prod(have), dtype=np.int8).reshape(have)
    if accepted:
        result = convert_value(array, field, "f")
        assert isinstance(result, np.ndarray)
        np.testing.assert_array_equal(result.ravel(), array.ravel())
        assert result.ndim == len(want)
    else:
        with pytest.raises(DataError, match="shape"):
            convert_value(array, field, "f")


def test_the_result_is_a_copy():
    array = np.zeros(3)
    result = convert_value(array, Field("x", (3,), "float64"), "f")
    array[:] = 1
    assert not np.any(result)


def test_a_tensor_is_taken_and_one_with_gradients_is_refused():
    field = Field("x", (2,), "float32")
    np.testing.assert_array_equal(convert_value(torch.ones(2), field, "f"), np.ones(2))
    with pytest.raises(DataError, match="requires grad"):
        convert_value(torch.ones(2, requires_grad=True), field, "f")


def test_text_becomes_plain_text():
    assert type(convert_value(np.str_("a"), Field("x", (), "string"), "f")) is str
    assert convert_value("a", Field("x", (1,), "string"), "f").tolist() == ["a"]
    assert convert_value(["a", "b"], Field("x", (None,), "string"), "f").tolist() == ["a", "b"]
    assert convert_value(bytearray(b"a\0"), Field("x", (), "bytes"), "f") == b"a\0"


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (b"a", "string", "Decode it"),
        ("a", "bytes", "Encode it"),
        (3, "string", "int 3"),
        (None, "string", "NoneType"),
        ("\ud800", "string", "UTF-8"),
    ],
)
def test_what_is_not_text_is_refused(value, dtype, message):
    with pytest.raises(DataError, match=message):
        convert_value(value, Field("x", (), dtype), "f")

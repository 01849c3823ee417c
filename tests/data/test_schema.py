"""The description of an example, as model files give it."""

import numpy as np
import pytest
import torch

from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError


class TensorFlowDtype:
    """Stands for `tf.dtypes.float32`, which has a name."""

    name = "float32"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("float32", "float32"),
        (np.float32, "float32"),
        (np.dtype(">i2"), "int16"),
        (torch.int64, "int64"),
        (torch.bool, "bool"),
        (TensorFlowDtype(), "float32"),
        (str, "string"),
        ("string", "string"),
        (bytes, "bytes"),
        (np.str_, "string"),
        ("f4", "float32"),
    ],
)
def test_every_library_s_dtype_gets_one_name(given, name):
    assert Field("x", (), given).dtype == name


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [
        ((), "int8", "fixed"),
        ([28, 28], "uint8", "fixed"),
        ([None, 3], "float32", "ragged"),
        ([], "string", "ragged"),
        ([], "bytes", "bytes"),
    ],
)
def test_kind_follows_from_shape_and_dtype(shape, dtype, kind):
    assert Field("x", shape, dtype).kind == kind


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("", (), "int8", "name"),
        ("x", 3, "int8", "must be a list"),
        ("x", (0,), "int8", "1 or more, or None"),
        ("x", (-1,), "int8", "1 or more, or None"),
        ("x", (2.0,), "int8", "1 or more, or None"),
        ("x", (), "flot32", "Did you mean 'float32'"),
        ("x", (), torch.bfloat16, "Store float32"),
        ("x", (), None, "can't be stored"),
        ("x", (), object, "can't be stored"),
    ],
)
def test_a_field_that_cannot_be_stored_is_refused(name, shape, dtype, message):
    with pytest.raises(DataError, match=message):
        Field(name, shape, dtype)


def test_page_4_s_list_of_dicts_goes_there_and_back():
    items = [
        {"name": "image", "shape": [28, 28], "dtype": "float32"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]
    assert Schema.from_list(items).to_list() == items
    assert Schema.from_list(Schema.from_list(items)) == Schema.from_list(items)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "at least one field"),
        ({"name": "x"}, "list of dicts"),
        (["x"], "Entry 0"),
        ([{"name": "x", "shape": []}], "lacks 'dtype'"),
        ([{"name": "x", "shape": [], "dtyp": "int8"}], "Did you mean 'dtype'"),
        ([{"name": "x", "shape": [], "dtype": "int8"}] * 2, "'x'.*twice"),
    ],
)
def test_a_wrong_list_is_refused_with_the_entry(items, message):
    with pytest.raises(DataError, match=message):
        Schema.from_list(items)


def test_schema_is_a_frozen_mapping_in_the_order_of_its_fields():
    schema = Schema([Field("b", (), "int8"), Field("a", (), "int8")])
    assert list(schema) == ["b", "a"]
    assert schema["a"] == Field("a", (), "int8")
    assert len({schema, Schema(schema.fields)}) == 1
    with pytest.raises(AttributeError):
        schema.fields = ()


def test_a_row_may_be_a_tuple_or_a_dict():
    schema = Schema([Field("a", (), "int8"), Field("b", (), "string")])
    assert schema.convert((1, "x"), "f") == schema.convert({"b": "x", "a": 1}, "f")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((1,), "f.png: expected 2 values"),
        ([1, "x"], "f.png: expected a tuple"),
        ({"a": 1}, r"f.png: .*lacks \['b'\]"),
        ({"a": 1, "b": "x", "aa": 1}, "Did you mean 'a'"),
    ],
)
def test_a_row_of_other_fields_is_refused_with_the_file(row, message):
    schema = Schema([Field("a", (), "int8"), Field("b", (), "string")])
    with pytest.raises(DataError, match=message):
        schema.convert(row, "f.png")


def test_differences_name_what_changed():
    old = Schema([Field("a", (), "int8"), Field("gone", (), "int8")])
    new = Schema([Field("a", (2,), "int8"), Field("new", (), "int8")])
    assert old.differences(old) == []
    assert len(old.differences(new)) == 3


def test_an_example_batch_has_every_field_s_shape_and_dtype():
    schema = Schema(
        [Field("a", (2, None), "bool"), Field("b", (), "string"), Field("c", (1,), "bytes")]
    )
    batch = schema.example(3)
    assert (batch["a"].shape, batch["a"].dtype) == ((3, 2, 1), np.bool_)
    assert batch["b"].tolist() == [""] * 3
    assert batch["c"].tolist() == [[b""]] * 3

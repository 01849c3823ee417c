"""Batches on their way into a program."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dovetail.errors import DataError
from dovetail.program.batches import as_tensors, count, cut, mapped

CPU = torch.device("cpu")


def converted(value):
    return as_tensors(value, CPU, "features")


def test_tensors_are_passed_on_as_they_are():
    x = torch.ones(2)
    assert converted(x) is x
    assert converted({"a": {"b": x}})["a"]["b"] is x
    assert converted(None) is None


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64", "bool", "float16"])
def test_arrays_keep_their_type_and_values(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    tensor = converted(array)
    assert str(tensor.dtype) == f"torch.{dtype}"
    assert (tensor.numpy() == array).all()


def test_python_numbers_become_what_torch_makes_of_them():
    assert converted([1.5, 2.5]).dtype == torch.float32
    assert converted([1, 2]).dtype == torch.int64
    assert converted([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]


def test_awkward_arrays_are_copied():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    flipped = array[:, ::-1]
    frozen = array.copy()
    frozen.flags.writeable = False
    foreign = array.astype(">f4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert converted(flipped).tolist() == flipped.tolist()
        assert converted(frozen).tolist() == array.tolist()
        assert converted(foreign).tolist() == array.tolist()
    converted(frozen).zero_()
    assert frozen.any()


@pytest.mark.parametrize(
    "value", [["a", "b"], np.array([b"x"]), [[1, 2], [3]], object(), np.array(["2020"], "M8[D]")]
)
def test_what_is_no_tensor_is_refused_by_name(value):
    with pytest.raises(DataError, match=r"features\['x'\]\['y'\] is an? .* can't be made a tensor"):
        converted({"x": {"y": value}})


def test_examples_are_counted_by_the_first_dimension():
    assert count(torch.ones(3, 2)) == 3
    assert count({"scale": torch.tensor(1.0), "x": {"deep": torch.ones(4, 1)}}) == 4
    assert count({}, torch.ones(5)) == 5
    with pytest.raises(DataError, match="can't be counted"):
        count({"scale": torch.tensor(1.0)})


@given(total=st.integers(1, 40), parts=st.integers(1, 12))
def test_parts_are_the_batch_in_order_and_nearly_equal(total, parts):
    x = torch.arange(total)
    features, labels = {"x": x, "scale": torch.tensor(2.0)}, x * 10
    pieces = cut(features, labels, parts)
    assert torch.equal(torch.cat([f["x"] for f, _ in pieces]), x)
    assert torch.equal(torch.cat([y for _, y in pieces]), labels)
    sizes = [len(y) for _, y in pieces]
    assert len(sizes) == min(parts, total)
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)
    assert all(f["scale"] == 2.0 for f, _ in pieces)


def test_absent_labels_stay_absent():
    assert [labels for _, labels in cut(torch.ones(4), None, 2)] == [None, None]


@pytest.mark.parametrize("parts", [0, -1])
def test_less_than_one_part_is_refused(parts):
    with pytest.raises(DataError, match="at least 1 part"):
        cut(torch.ones(4), None, parts)


def test_functions_reach_every_tensor_of_nested_values():
    x = torch.ones(2)
    value = {"a": [x, (x, None)], "n": 3}
    assert mapped(value, lambda t: t.sum().item()) == {"a": [2.0, [2.0, None]], "n": 3}

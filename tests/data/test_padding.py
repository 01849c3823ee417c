"""Padded batches hold each row's values at its beginning, and say which they are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.padding import padded, padded_tensors
from dovetail.errors import DataError


@given(
    st.integers(1, 3).flatmap(
        lambda dims: st.lists(
            st.tuples(*[st.integers(0, 4) for _ in range(dims)]), min_size=1, max_size=5
        )
    )
)
def test_rows_of_any_sizes_come_back_where_the_mask_is_true(shapes):
    rng = np.random.default_rng(0)
    values = [rng.integers(1, 9, shape) for shape in shapes]
    array, mask = padded(values, value=-1)
    assert array.shape == (len(shapes), *np.max(shapes, axis=0))
    for row, value in enumerate(values):
        corner = tuple(slice(size) for size in value.shape)
        np.testing.assert_array_equal(array[row][corner], value)
        wanted = np.zeros(array.shape[1:], bool)
        wanted[corner] = True
        np.testing.assert_array_equal(mask[row], wanted)
    assert (array[~mask] == -1).all()
    tensor, real = padded_tensors([torch.from_numpy(value) for value in values], value=-1)
    np.testing.assert_array_equal(tensor.numpy(), array)
    np.testing.assert_array_equal(real.numpy(), mask)


def test_torchs_own_padding_agrees():
    values = [torch.arange(size, dtype=torch.float32) for size in (3, 1, 4)]
    expected = torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=9)
    assert torch.equal(padded_tensors(values, 9)[0], expected)


def test_the_mask_covers_the_dimensions_that_vary():
    array, mask = padded([np.ones((2, 3)), np.ones((1, 3))], varying=1)
    assert array.shape == (2, 2, 3)
    assert mask.tolist() == [[True, True], [True, False]]


def test_sizes_can_be_given_or_rounded_up():
    values = [np.array([1, 2, 3], np.int16)]
    assert padded(values, sizes=[5])[0].tolist() == [[1, 2, 3, 0, 0]]
    assert padded(values, multiple_of=8)[0].shape == (1, 8)
    with pytest.raises(DataError, match="row 0 of the batch is of size 3 in dimension 0"):
        padded(values, sizes=[2])
    with pytest.raises(DataError, match="must name 1 dimensions"):
        padded(values, sizes=[2, 2])


def test_text_is_padded_with_text():
    words = np.array(["a", "b"], object)
    assert padded([words, words[:1]], "")[0].tolist() == [["a", "b"], ["a", ""]]
    with pytest.raises(DataError, match="Text is padded with text"):
        padded([words], 0)


@pytest.mark.parametrize("value", [0.5, 300, None, "x", [0, 1], np.nan])
def test_a_value_that_the_rows_cannot_hold_is_refused(value):
    with pytest.raises(DataError, match="can't be padded with"):
        padded([np.array([1], np.uint8)], value)


def test_floats_are_padded_with_any_number():
    array, mask = padded([np.array([1.0], np.float32)], -np.inf, sizes=[2])
    assert array.tolist() == [[1.0, -np.inf]]
    assert array.dtype == np.float32
    assert mask.tolist() == [[True, False]]


def test_values_that_are_no_arrays_are_refused():
    with pytest.raises(DataError, match="rows are of str"):
        padded(["a"])
    with pytest.raises(DataError, match="at least one tensor"):
        padded_tensors([])

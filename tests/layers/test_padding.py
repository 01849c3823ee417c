"""TensorFlow's SAME padding."""

import math

import pytest

from dovetail.errors import DefinitionError
from dovetail.layers.padding import is_same, same_padding


@pytest.mark.parametrize("rate", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 11])
def test_same_gives_as_many_outputs_as_there_are_strides(kernel, stride, rate):
    window = (kernel - 1) * rate + 1
    for size in range(1, 24):
        before, after = same_padding(size, kernel, stride, rate)
        outputs = (size + before + after - window) // stride + 1
        assert outputs == math.ceil(size / stride)
        assert after - before in (0, 1)


def test_documented_example_of_tensorflow():
    # https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2: 13 inputs, window 6,
    # stride 5: one zero before, two after.
    assert same_padding(13, kernel=6, stride=5) == (1, 2)


def test_padding_may_be_written_in_small_letters():
    assert is_same("same")
    assert not is_same("valid")


def test_other_padding_is_refused():
    with pytest.raises(DefinitionError, match=r"test_padding.py:\d+: padding must be 'SAME'"):
        is_same("reflect")

"""Keras computes where the tensors are that it is given."""

from typing import Any

import keras
import torch

from dovetail.definition.keras.device import keras_on


def made():
    tensor: Any = keras.ops.ones(())
    return tensor.device.type


def test_the_first_tensor_decides():
    with keras.device("meta"):  # as Keras chooses an accelerator for a program on the CPU
        for value in (torch.ones(1), {"a": [None, torch.ones(1)]}, (torch.ones(1),)):
            with keras_on(value):
                assert made() == "cpu"
            assert made() == "meta"


def test_nothing_is_changed_without_a_tensor():
    before = made()
    with keras_on([]):
        assert made() == before
    with keras.device("meta"), keras_on({"a": None}):
        assert made() == "meta"

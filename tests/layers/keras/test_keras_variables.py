"""Keras variables as parameters and buffers: their names, and that they are the same tensors."""

from __future__ import annotations

from typing import Any

import keras
import torch
from torch import nn

from dovetail.layers.keras.layer import KerasLayer
from dovetail.layers.keras.random import fresh_keras

kl: Any = keras.layers


def names(module: nn.Module) -> list[str]:
    return list(module.state_dict())


def test_weights_are_the_parameters_that_keras_made() -> None:
    dense = kl.Dense(3)
    dense.build((None, 4))
    made = [v.value for v in dense.weights]
    wrapped = KerasLayer(dense)
    assert all(a is b for a, b in zip(wrapped.parameters(), made, strict=True))
    assert names(wrapped) == ["kernel", "bias"]


def test_a_layer_of_another_name_keeps_its_names() -> None:
    dense = kl.Dense(3, name="mine")
    dense.build((None, 4))
    assert names(KerasLayer(dense)) == ["kernel", "bias"]


def test_names_that_torch_modules_have_are_moved_aside() -> None:
    inputs = keras.Input((4,))
    hidden = kl.Dense(3, name="forward")(inputs)
    model = keras.Model(inputs, kl.Dense(3, name="other")(hidden))
    assert names(KerasLayer(model)) == [
        "forward_layer.kernel",
        "forward_layer.bias",
        "other.kernel",
        "other.bias",
    ]


def test_names_that_occur_twice_are_numbered() -> None:
    class Twins(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = kl.Dense(2, name="same"), kl.Dense(3, name="same")

        def call(self, x: Any) -> Any:
            return self.second(self.first(x))

    model = Twins()
    model(torch.ones(1, 4))
    wrapped = KerasLayer(model)
    assert names(wrapped) == ["same.kernel", "same.bias", "same.kernel_1", "same.bias_1"]
    assert torch.equal(wrapped(torch.ones(1, 4)), model(torch.ones(1, 4)))


def test_the_paths_of_a_model_s_own_name_are_shortened_but_not_those_of_a_layer_so_named() -> None:
    with fresh_keras():
        sequential = keras.Sequential([keras.Input((4,)), kl.Dense(3)], name="head")
        inputs = keras.Input((4,))
        functional = keras.Model(inputs, kl.Dense(3, name="head")(inputs), name="head")
    assert names(KerasLayer(sequential)) == ["dense.kernel", "dense.bias"]
    assert names(KerasLayer(functional)) == ["head.kernel", "head.bias"]


def test_states_of_recurrent_layers_are_buffers_and_seeds_are_not_kept() -> None:
    lstm = kl.LSTM(2, stateful=True, dropout=0.1)
    lstm(torch.ones(3, 5, 4))
    wrapped = KerasLayer(lstm)
    assert len(list(wrapped.parameters())) == 3
    assert [tuple(b.shape) for b in wrapped.buffers()] == [(3, 2), (3, 2)]
    assert not any("seed" in name for name in names(wrapped))

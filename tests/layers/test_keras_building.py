"""Keras layers make their variables before their first call, which leaves no other trace."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import torch

from dovetail import layers
from dovetail.layers.keras_building import build

kl: Any = keras.layers


class Counting(keras.Model):
    """Notes how it is called, and reads values, which a symbolic call can't."""

    def __init__(self, eager: bool) -> None:
        super().__init__()
        self.eager = eager
        self.dense = kl.Dense(2)
        self.normal = kl.BatchNormalization()
        self.seen: list[tuple[Any, bool]] = []

    def call(self, x: Any, training: bool = False) -> Any:
        x = self.normal(self.dense(x), training=training)
        self.seen.append((x.shape[0], training))
        if self.eager and float(x.detach().sum()) > 1e9:
            return 2 * x
        return x


def test_a_symbolic_call_moves_no_statistics() -> None:
    model = Counting(eager=False)
    build(model, (torch.full((3, 4), 5.0),), {"training": True})
    assert [tuple(v.shape) for v in model.weights] == [(4, 2), (2,), (2,), (2,), (2,), (2,)]
    assert not model.normal.moving_mean.value.any()
    assert 3 not in {size for size, _ in model.seen}


def test_a_model_that_reads_values_is_built_all_the_same() -> None:
    model = Counting(eager=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(model, (torch.full((3, 4), 5.0),), {"training": True})
    assert len(model.weights) == 6
    assert not model.normal.moving_mean.value.any()


def test_structures_of_tensors_are_followed() -> None:
    class Sum(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = kl.Dense(2)

        def call(self, inputs: Any, extra: Any = None) -> Any:
            return self.dense(inputs["a"] + inputs["rest"][0] + extra)

    model = Sum()
    one = torch.ones(3, 4)
    build(model, ({"a": one, "rest": [one]},), {"extra": one})
    assert [tuple(v.shape) for v in model.weights] == [(4, 2), (2,)]


def test_layers_that_appear_in_a_later_call_are_taken_up() -> None:
    class Growing(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.always, self.sometimes = kl.Dense(4), kl.Dense(4)

        def call(self, x: Any, more: bool = False) -> Any:
            return self.sometimes(self.always(x)) if more else self.always(x)

    with layers.scope() as store:
        found = layers.layer(Growing, name="net")
        found(torch.ones(2, 4))
        assert len(list(store.parameters())) == 2
        found(torch.ones(2, 4), more=True)
        kinds = [name.rpartition(".")[2] for name, _ in store.named_parameters()]
        assert kinds == ["kernel", "bias"] * 2

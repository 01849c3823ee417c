"""Keras layers make their variables before their first call, which leaves no other trace."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import pytest
import torch

from dovetail import layers
from dovetail.errors import DefinitionError
from dovetail.layers.keras.building import build

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


class Spare(keras.Model):
    """Has a layer that only evaluation may call."""

    def __init__(self, used: bool) -> None:
        super().__init__()
        self.used = used
        self.dense, self.spare = kl.Dense(4), kl.Dense(4)

    def call(self, x: Any, training: bool = False) -> Any:
        x = self.dense(x)
        return self.spare(x) if self.used and not training else x


def test_a_layer_that_is_never_called_does_no_harm() -> None:
    with layers.scope() as store:
        found = layers.layer(Spare, False, name="net")
        found(torch.ones(2, 4))
    store.seal()
    for training in (True, False):
        store.train(training)
        with layers.scope(store):
            found(torch.ones(2, 4))
    assert len(list(store.parameters())) == 2


def test_a_layer_within_that_evaluation_calls_first_is_refused() -> None:
    with layers.scope() as store:
        found = layers.layer(Spare, True, name="net")
        found(torch.ones(2, 4))
    store.seal()
    store.train(False)
    with layers.scope(store), pytest.raises(DefinitionError, match="was not called in TRAIN mode"):
        found(torch.ones(2, 4))


def test_losses_of_calls_outside_are_no_part_of_a_step() -> None:
    dense = kl.Dense(2, activity_regularizer="l2")
    for _ in range(3):
        dense(torch.ones(2, 4))
    with layers.scope():
        output = layers.layer(dense, name="dense")(torch.ones(2, 4))
        penalty = layers.regularization_loss()
    torch.testing.assert_close(penalty, 0.01 * output.square().sum() / 2)

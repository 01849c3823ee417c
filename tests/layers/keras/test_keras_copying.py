"""A Keras model that a second program takes is copied, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch

from dovetail import layers
from dovetail.errors import DefinitionError
from dovetail.layers.keras.copying import copied

kl: Any = keras.layers


class Twice(keras.Model):
    """Local, without a config, unknown to Keras' registry."""

    def __init__(self, scale: Any) -> None:
        super().__init__()
        self.scale = scale
        self.blocks = [kl.Dense(4, activation="relu"), kl.BatchNormalization()]
        self.by_name = {"head": kl.Dense(2)}
        self.inner = torch.nn.Linear(2, 2)

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.inner(self.by_name["head"](x)) * self.scale


def functional() -> Any:
    inputs = keras.Input((3,), name="x")
    normal = kl.Normalization(mean=0.5, variance=2.0)
    x = kl.Lambda(lambda t: 2 * t)(kl.Rescaling(2.0)(normal(inputs)))
    shared = kl.Dense(3)
    x = shared(shared(x)) + keras.ops.sin(x)
    inner = keras.Sequential([kl.Dense(4), kl.Dropout(0.1)])
    model: Any = keras.Model(inputs, [inner(x), kl.LSTM(2)(kl.Reshape((1, 3))(x))])
    model.compile("adam", "mse")
    return model


def deep() -> Any:
    inputs = x = keras.Input((3,))
    for _ in range(150):
        x = kl.Dense(3)(x)
    return keras.Model(inputs, x)


MODELS: dict[str, Callable[[], Any]] = {
    "subclass": lambda: Twice(np.float32(2)),
    "functional": functional,
    "deep": deep,
    "sequential": lambda: keras.Sequential([kl.Dense(3), kl.Dense(2)]),
    "layer": lambda: kl.Bidirectional(kl.GRU(2)),
}


def flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_copy_computes_the_same_and_shares_nothing(name: str, built: bool) -> None:
    model = MODELS[name]()
    x = torch.randn(5, 6, 3) if name == "layer" else torch.randn(5, 3)
    if built:
        model(x)
    twin = copied(model)
    assert type(twin) is type(model)
    assert not {id(part) for part in twin._flatten_layers()} & {
        id(part) for part in model._flatten_layers()
    }
    twin(x)
    assert twin.built
    model(x)
    assert [v.path for v in twin.weights] == [v.path for v in model.weights]
    with torch.no_grad():
        for own, theirs in zip(twin.weights, model.weights, strict=True):
            assert own is not theirs
            assert own.value is not theirs.value
            if built:
                assert torch.equal(own.value, theirs.value)
            own.value.copy_(theirs.value)
        before = flat(model(x))
        for ours, theirs in zip(flat(twin(x)), before, strict=True):
            assert torch.equal(ours, theirs)
        for own in twin.weights:
            own.value.zero_()
        for now, then in zip(flat(model(x)), before, strict=True):
            assert torch.equal(now, then)


def test_what_can_t_be_copied_says_what_to_do() -> None:
    model = Twice(2.0)
    model.stream = (n for n in range(3))  # a generator
    with layers.scope():
        layers.layer(model, name="net")(torch.randn(5, 3))
        with (
            layers.scope(),
            pytest.raises(DefinitionError, match=r"Keras Twice .*can't be copied.*def model\(\)"),
        ):
            layers.layer(model, name="net")


def test_the_first_program_has_the_model_itself() -> None:
    model = keras.Sequential([keras.Input((3,)), kl.Dense(2)])
    with layers.scope() as first:
        given: Any = layers.layer(model, name="net")
        assert given.given is model
        with layers.scope() as second:
            other: Any = layers.layer(model, name="net")
        assert other.given is not model
    assert list(first.state_dict()) == list(second.state_dict())

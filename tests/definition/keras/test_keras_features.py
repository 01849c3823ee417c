"""Features reach Keras models by the names of their inputs."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import pytest
import torch

from dovetail.definition.features_call import features_call
from dovetail.errors import DefinitionError

A, B = torch.ones(2, 4), torch.full((2, 3), 2.0)


def functional(structure: Any) -> Any:
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    return keras.Model(structure(a, b), keras.layers.Concatenate()([a, b]))


@pytest.mark.parametrize(
    "structure",
    [
        lambda a, b: [a, b],
        lambda a, b: (b, a),
        lambda a, b: {"a": a, "b": b},
        lambda a, b: {"b": b, "a": a},
        lambda a, b: {"inner": {"b": b}, "a": a},
    ],
)
def test_features_go_to_the_inputs_of_their_names(structure: Any) -> None:
    model = functional(structure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output = features_call(model)(model, {"b": B, "more": A, "a": A})
    assert torch.equal(output, torch.cat([A, B], 1))


def test_a_missing_input_is_named_with_both_sides() -> None:
    model = functional(lambda a, b: [a, b])
    with pytest.raises(DefinitionError, match="inputs a, b, and the features are aa, b: a missing"):
        features_call(model)(model, {"aa": A, "b": B})
    with pytest.raises(DefinitionError, match="the features are one tensor"):
        features_call(model)(model, A)


def test_one_input_takes_its_tensor_whatever_else_there_is() -> None:
    inputs = keras.Input((4,), name="a")
    model: Any = keras.Model(inputs, keras.layers.Rescaling(2.0)(inputs))
    call = features_call(model)
    for features in (A, {"a": A}, {"any": A}, {"b": B, "a": A}):
        assert torch.equal(call(model, features), 2 * A)


class Named(keras.Model):
    def call(self, a: Any, b: Any, training: Any = None, mask: Any = None) -> Any:
        return keras.ops.concatenate([a, b], 1)


class Whole(keras.Model):
    def call(self, inputs: Any, training: Any = False) -> Any:
        return keras.ops.concatenate([inputs["a"], inputs["b"]], 1)


@pytest.mark.parametrize("kind", [Named, Whole])
def test_a_subclass_gets_features_by_its_own_arguments(kind: Any) -> None:
    model = kind()
    output = features_call(model)(model, {"b": B, "a": A})
    assert torch.equal(output, torch.cat([A, B], 1))


def test_a_subclass_s_arguments_are_named_where_features_do_not_fit() -> None:
    with pytest.raises(DefinitionError, match=r"Named\.call takes a, b, and the features are a, c"):
        features_call(Named())(Named(), {"a": A, "c": B})


@pytest.mark.parametrize("first", [[keras.Input((4,))], []])
def test_a_sequential_takes_the_tensor_of_a_dict_of_one(first: list[Any]) -> None:
    model: Any = keras.Sequential([*first, keras.layers.Rescaling(2.0)])
    assert torch.equal(features_call(model)(model, {"image": A}), 2 * A)

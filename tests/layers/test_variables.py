"""Single parameters."""

import pytest
import torch

from dovetail import layers
from dovetail.errors import DefinitionError


def test_a_variable_is_the_same_parameter_at_every_call():
    with layers.scope() as store:
        first = layers.get_variable("gate", [3, 2])
        assert layers.get_variable("gate", [3, 2]) is first
    with layers.scope(store):
        assert layers.get_variable("gate", (3, 2)) is first
    assert [name for name, _ in store.named_parameters()] == ["gate.value"]
    assert first.std() > 0


def test_a_variable_takes_shape_type_and_values():
    with layers.scope():
        scalar = layers.get_variable("s", [], initializer=lambda t: t.fill_(2))
        vector = layers.get_variable("v", 4, torch.float64, trainable=False)
    assert scalar.item() == 2
    assert scalar.requires_grad
    assert torch.equal(vector, torch.zeros(4, dtype=torch.float64))
    assert not vector.requires_grad


def test_a_variable_of_another_shape_is_refused_with_both_places():
    with layers.scope():
        layers.get_variable("gate", [3])
        with pytest.raises(DefinitionError) as caught:
            layers.get_variable("gate", [4])
    assert str(caught.value).count("test_variables.py:") == 2


def test_integer_variables_are_refused():
    with pytest.raises(DefinitionError, match=r"variable 'count' is asked for as torch.int64"):
        layers.get_variable("count", [], torch.int64)


def test_variables_of_a_block_are_its_own():
    def scaled(x):
        return x * layers.get_variable("scale", [], initializer=torch.nn.init.ones_)

    with layers.scope() as store:
        layers.block(scaled, layers.block(scaled, torch.ones(2)))
    assert [n for n, _ in store.named_parameters()] == [
        "scaled.scale.value",
        "scaled_1.scale.value",
    ]

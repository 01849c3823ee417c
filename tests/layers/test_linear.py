"""Fully connected layers."""

import math

import pytest
import torch

from dovetail import layers
from dovetail.errors import DefinitionError


def test_fully_connected_is_relu_of_the_product():
    inputs = torch.randn(4, 3)
    with layers.scope() as store:
        out = layers.fully_connected(inputs, 5, biases_initializer=torch.nn.init.ones_)
    expected = torch.relu(inputs @ store.fully_connected.weight.T + 1)
    torch.testing.assert_close(out, expected)
    assert store.fully_connected.weight.abs().max() <= math.sqrt(6 / (3 + 5))


def test_fully_connected_works_over_the_last_dimension():
    inputs = torch.randn(4, 7, 3)
    with layers.scope() as store:
        out = layers.fully_connected(inputs, 5, None)
        again = torch.stack([store.fully_connected(row) for row in inputs])
    torch.testing.assert_close(out, again)


def test_dense_is_fully_connected():
    with layers.scope() as store:
        layers.dense(torch.randn(4, 3), 5)
        layers.dense(torch.randn(4, 3), 5, normalizer_fn=layers.batch_norm)
    assert [name for name, _ in store.named_parameters()] == [
        "fully_connected.weight",
        "fully_connected.bias",
        "fully_connected_1.weight",
        "batch_norm.weight",
        "batch_norm.bias",
    ]


def test_weights_have_the_type_of_inputs_but_no_less_than_the_default():
    for given, made in [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
    ]:
        with layers.scope() as store:
            out = layers.dense(torch.randn(2, 3, dtype=given), 2)
        assert out.dtype == store.fully_connected.weight.dtype == made
    with layers.scope() as store, torch.autocast("cpu", torch.bfloat16):
        hidden = layers.dense(torch.randn(2, 3), 2)
        layers.dense(hidden, 2)
    assert hidden.dtype == torch.bfloat16
    assert {p.dtype for p in store.parameters()} == {torch.float32}


def test_layers_are_found_after_the_store_is_moved_to_another_type():
    with layers.scope() as store:
        single = layers.dense(torch.ones(2, 3), 2)
    store.double()
    with layers.scope(store):
        double = layers.dense(torch.ones(2, 3, dtype=torch.float64), 2)
    torch.testing.assert_close(double, single.double(), rtol=1e-6, atol=1e-6)


def test_initial_weights_follow_the_default_generator():
    def weights(seed):
        torch.manual_seed(seed)
        with layers.scope() as store:
            layers.dense(torch.ones(2, 3), 2)
        return store.fully_connected.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_an_initializer_may_return_its_values():
    with layers.scope() as store:
        layers.dense(torch.ones(2, 3), 2, weights_initializer=lambda w: torch.full_like(w, 7))
    assert store.fully_connected.weight.unique().tolist() == [7]
    assert store.fully_connected.weight.requires_grad


@pytest.mark.parametrize("value", [0.1, lambda w: torch.zeros(1)])
def test_a_wrong_initializer_is_refused(value):
    with (
        pytest.raises(DefinitionError, match=r"test_linear.py:\d+: an initializer"),
        layers.scope(),
    ):
        layers.dense(torch.ones(2, 3), 2, weights_initializer=value)


def test_a_new_number_of_features_names_both_calls():
    with layers.scope() as store:
        layers.dense(torch.ones(2, 3), 2)
    with pytest.raises(DefinitionError, match="in_features=4.*in_features=3"), layers.scope(store):
        layers.dense(torch.ones(2, 4), 2)

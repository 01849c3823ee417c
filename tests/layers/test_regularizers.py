"""Penalties on weights."""

import pytest
import torch

from dovetail import layers
from dovetail.errors import DefinitionError

WEIGHTS = torch.tensor([[3.0, -4.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("regularizer", "expected"),
    [
        (layers.l2_loss, 13.0),
        (layers.l2_regularizer(0.1), 1.3),
        (layers.l1_regularizer(0.5), 4.0),
        (layers.l1_l2_regularizer(0.5, 0.1), 5.3),
        (layers.sum_regularizer([layers.l1_regularizer(0.5), None, layers.l2_loss]), 17.0),
    ],
)
def test_regularizers_are_their_formulas(regularizer, expected):
    assert regularizer(WEIGHTS).item() == pytest.approx(expected)


def test_a_scale_of_zero_is_no_penalty():
    with layers.scope():
        layers.dense(WEIGHTS, 2, weights_regularizer=layers.l2_regularizer(0.0))
        loss = layers.regularization_loss()
    assert torch.equal(loss, torch.zeros(()))


@pytest.mark.parametrize("scale", [-1, float("nan"), float("inf"), "0.1"])
def test_senseless_scales_are_refused(scale):
    with pytest.raises(DefinitionError, match="scale of an l2 regularizer"):
        layers.l2_regularizer(scale)


def test_weights_and_biases_of_all_layers_are_summed():
    with layers.scope() as store:
        h = layers.conv2d(torch.randn(1, 4, 4, 1), 2, 3, weights_regularizer=layers.l2_loss)
        layers.dense(
            layers.flatten(h),
            3,
            weights_regularizer=torch.sum,
            biases_initializer=torch.nn.init.ones_,
            biases_regularizer=torch.sum,
        )
        loss = layers.regularization_loss()
    expected = (store.conv2d.weight**2).sum() / 2 + store.fully_connected.weight.sum() + 3
    torch.testing.assert_close(loss, expected)
    loss.backward()
    torch.testing.assert_close(store.conv2d.weight.grad, store.conv2d.weight.detach())


def test_a_layer_used_twice_counts_once():
    with layers.scope() as store:
        for _ in range(2):
            layers.dense(torch.randn(1, 3), 3, scope="shared", weights_regularizer=layers.l2_loss)
            layers.get_variable("v", [2], initializer=torch.nn.init.ones_, regularizer=torch.sum)
        loss = layers.regularization_loss()
    torch.testing.assert_close(loss, layers.l2_loss(store.shared.weight) + 2)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_blocks_hand_their_penalties_up(checkpoint):
    def inner(x):
        return layers.dense(x, 3, weights_regularizer=layers.l2_loss)

    def outer(x):
        return layers.block(inner, x, checkpoint=checkpoint)

    with layers.scope() as store:
        layers.block(outer, torch.randn(1, 3))
        loss = layers.regularization_loss()
    weight = store.outer.inner.fully_connected.weight
    torch.testing.assert_close(loss, layers.l2_loss(weight))
    loss.backward()
    torch.testing.assert_close(weight.grad, weight.detach())


def test_each_call_starts_at_zero():
    def loss(store):
        with layers.scope(store) as kept:
            layers.dense(torch.ones(1, 3), 3, weights_regularizer=layers.l2_loss)
            return kept, layers.regularization_loss()

    store, first = loss(None)
    assert torch.equal(loss(store)[1], first)


def test_the_sum_needs_a_running_model_fn():
    with pytest.raises(DefinitionError, match="only be used inside a model_fn"):
        layers.regularization_loss()

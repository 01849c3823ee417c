"""Batch and layer normalisation, compared with their formulas."""

import pytest
import torch

from dovetail import layers
from dovetail.errors import DefinitionError


def run(store, function, train=True):
    store.train(train)
    with layers.scope(store):
        return function()


@pytest.mark.parametrize("shape", [(8, 3), (4, 5, 3), (4, 5, 6, 3), (2, 3, 4, 5, 3)])
def test_batch_norm_is_the_formula_over_all_but_the_last_dimension(shape):
    inputs = torch.randn(shape, dtype=torch.float64) * 3 + 2
    axes = tuple(range(len(shape) - 1))
    mean, variance = inputs.mean(axes), inputs.var(axes, unbiased=False)
    with layers.scope() as store:
        out = layers.batch_norm(inputs, decay=0.9)
    torch.testing.assert_close(out, (inputs - mean) / (variance + 0.001).sqrt())
    module = store.batch_norm
    torch.testing.assert_close(module.running_mean, 0.1 * mean)
    torch.testing.assert_close(module.running_var, 0.9 + 0.1 * inputs.var(axes, unbiased=True))
    evaluated = run(store, lambda: layers.batch_norm(inputs, decay=0.9), train=False)
    expected = (inputs - module.running_mean) / (module.running_var + 0.001).sqrt()
    torch.testing.assert_close(evaluated, expected)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("trainable", [True, False])
def test_batch_norm_trains_what_was_asked_for(center, scale, trainable):
    with layers.scope() as store:
        layers.batch_norm(torch.randn(8, 3), center=center, scale=scale, trainable=trainable)
    trained = {n for n, p in store.named_parameters() if p.requires_grad}
    asked = {"batch_norm.bias": center, "batch_norm.weight": scale}
    assert trained == {name for name, wanted in asked.items() if wanted and trainable}


def test_pinned_training_wins_over_the_mode():
    inputs = torch.randn(16, 3) * 2 + 1
    with layers.scope() as store:
        layers.batch_norm(inputs, is_training=False)
    assert not store.batch_norm.running_mean.any()  # nothing was learned
    pinned = run(store, lambda: layers.batch_norm(inputs, is_training=True), train=False)
    assert pinned.mean(0).abs().max() < 1e-5
    assert store.batch_norm.running_mean.any()


def test_batch_norm_can_be_synchronised_by_torch():
    inputs = torch.randn(6, 4, 4, 3)
    with layers.scope() as store:
        layers.batch_norm(inputs)
    expected = run(store, lambda: layers.batch_norm(inputs), train=False)
    store = torch.nn.SyncBatchNorm.convert_sync_batchnorm(store)
    assert isinstance(store.batch_norm, torch.nn.SyncBatchNorm)
    assert not store.batch_norm.weight.requires_grad
    assert torch.equal(run(store, lambda: layers.batch_norm(inputs), train=False), expected)


def test_batch_norm_applies_its_activation():
    with layers.scope():
        assert layers.batch_norm(torch.randn(8, 3), activation_fn=layers.relu).min() == 0


def test_batch_norm_refuses_a_decay_above_one():
    with pytest.raises(DefinitionError, match="decay must be a number from 0 to 1"), layers.scope():
        layers.batch_norm(torch.randn(8, 3), decay=99)


def test_layer_norm_takes_each_example_as_a_whole():
    inputs = torch.randn(2, 4, 5, 3, dtype=torch.float64) * 3 + 1
    with layers.scope() as store:
        layers.layer_norm(inputs)
        torch.nn.init.normal_(store.layer_norm.weight)
        torch.nn.init.normal_(store.layer_norm.bias)
    out = run(store, lambda: layers.layer_norm(inputs))
    axes = (1, 2, 3)
    mean = inputs.mean(axes, keepdim=True)
    deviation = inputs.var(axes, unbiased=False, keepdim=True).sqrt()
    weight, bias = store.layer_norm.weight, store.layer_norm.bias
    assert weight.shape == bias.shape == (3,)
    torch.testing.assert_close(out, (inputs - mean) / deviation * weight + bias)


def test_layer_norm_over_the_last_dimension_is_torchs():
    inputs = torch.randn(2, 4, 3)
    with layers.scope():
        out = layers.layer_norm(inputs, begin_norm_axis=-1, epsilon=1e-5)
    torch.testing.assert_close(out, torch.nn.functional.layer_norm(inputs, (3,)))


def test_layer_norm_parameters_may_have_more_dimensions():
    with layers.scope() as store:
        layers.layer_norm(torch.randn(2, 4, 3), begin_params_axis=1, center=False)
    assert {n: tuple(p.shape) for n, p in store.named_parameters()} == {"layer_norm.weight": (4, 3)}


def test_layer_norm_without_parameters_takes_no_number():
    with layers.scope() as store:
        out = layers.layer_norm(torch.tensor([[1.0, 3.0]]), center=False, scale=False)
    assert not list(store.parameters())
    torch.testing.assert_close(out, torch.tensor([[-1.0, 1.0]]))


def test_layer_norm_refuses_the_batch_axis():
    with pytest.raises(DefinitionError, match="takes axes from 1 to 1"), layers.scope():
        layers.layer_norm(torch.randn(2, 4), begin_norm_axis=0)

"""Dropout."""

import pytest
import torch

from dovetail import layers
from dovetail.errors import DefinitionError


def test_dropout_keeps_the_given_share_and_the_mean():
    with layers.scope():
        out = layers.dropout(torch.ones(1, 100_000), keep_prob=0.8)
    assert out.unique().tolist() == pytest.approx([0, 1.25])
    assert (out != 0).float().mean().item() == pytest.approx(0.8, abs=0.01)


def test_dropout_follows_the_mode_unless_pinned():
    inputs = torch.ones(4, 100)
    with layers.scope() as store:
        store.eval()
        assert torch.equal(layers.dropout(inputs), inputs)
        assert not torch.equal(layers.dropout(inputs, is_training=True), inputs)
        store.train()
        assert not torch.equal(layers.dropout(inputs), inputs)
        assert torch.equal(layers.dropout(inputs, is_training=False), inputs)


def test_dropout_within_a_block_follows_the_mode():
    inputs = torch.ones(4, 100)
    with layers.scope() as store:
        layers.block(layers.dropout, inputs)
    store.eval()
    with layers.scope(store):
        assert torch.equal(layers.block(layers.dropout, inputs), inputs)


def test_dropout_draws_from_the_default_generator():
    def draw(seed):
        torch.manual_seed(seed)
        with layers.scope():
            return layers.dropout(torch.ones(4, 100))

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


@pytest.mark.parametrize("keep_prob", [0, -0.1, 1.5, 80])
def test_dropout_refuses_what_is_no_probability(keep_prob):
    with pytest.raises(DefinitionError, match="probability that a value is kept"), layers.scope():
        layers.dropout(torch.ones(2, 2), keep_prob)

"""Embeddings and one-hot encodings."""

import pytest
import torch

from dovetail import layers
from dovetail.errors import DefinitionError


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.int16])
def test_embedding_looks_up_rows(dtype):
    ids = torch.tensor([[0, 3], [3, 1]], dtype=dtype)
    with layers.scope() as store:
        out = layers.embedding(ids, 4, 5)
    assert out.shape == (2, 2, 5)
    assert torch.equal(out[0, 1], store.embedding.weight[3])
    assert torch.equal(out[1, 1], store.embedding.weight[1])


def test_embedding_may_be_frozen_initialised_and_penalised():
    with layers.scope() as store:
        layers.embedding(
            torch.tensor([1]),
            4,
            5,
            initializer=torch.nn.init.ones_,
            regularizer=layers.l2_regularizer(0.5),
            trainable=False,
        )
        assert layers.regularization_loss().item() == 0.5 * 20 / 2
    assert not store.embedding.weight.requires_grad


def test_one_hot_encoding_is_torchs():
    labels = torch.randint(0, 7, (3, 4))
    expected = torch.nn.functional.one_hot(labels, 7).float()
    assert torch.equal(layers.one_hot_encoding(labels, 7), expected)
    assert torch.equal(layers.one_hot_encoding(labels, 7, 0.9, 0.1), expected * 0.8 + 0.1)


def test_labels_without_a_place_give_off_values():
    assert not layers.one_hot_encoding(torch.tensor([-1, 3]), 3).any()


def test_one_hot_encoding_refuses_floats():
    with pytest.raises(DefinitionError, match="one_hot_encoding takes integers"):
        layers.one_hot_encoding(torch.zeros(3), 3)

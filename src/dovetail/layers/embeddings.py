"""From integers to vectors: embeddings and one-hot encodings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dovetail.layers.inputs import require_integers
from dovetail.layers.layer import find
from dovetail.layers.parameters import Initializer, fill, positive, xavier_uniform
from dovetail.layers.regularizers import Regularizer, collect


def table(
    vocab_size: int, embed_dim: int, initializer: Initializer, trainable: bool
) -> nn.Embedding:
    """Return a torch embedding with the given first values."""
    module = nn.Embedding(
        positive(vocab_size, "vocab_size of embedding"),
        positive(embed_dim, "embed_dim of embedding"),
    )
    fill(module.weight, initializer)
    return module.requires_grad_(trainable)


def embedding(
    ids: Tensor,
    vocab_size: int,
    embed_dim: int,
    *,
    initializer: Initializer = xavier_uniform,
    regularizer: Regularizer | None = None,
    trainable: bool = True,
    scope: str | None = None,
) -> Tensor:
    """Return a trained vector for each id (`tf.contrib.layers.embed_sequence`).

    Args:
      ids: integers from 0 to vocab_size - 1, of any shape [batch, ...].
      vocab_size: number of different ids.
      embed_dim: size of a vector.
      initializer: fills the vectors, shape [vocab_size, embed_dim], in place.
      regularizer: penalty of the vectors, see `regularization_loss`.
      trainable: whether the vectors are trained.
      scope: name of the layer; the same name twice shares the layer.

    Returns:
      [batch, ..., embed_dim].

    Raises:
      DefinitionError: the ids are not integers.

    Example:
      >>> from dovetail import layers
      >>> with layers.scope():
      ...     layers.embedding(torch.tensor([[1, 2, 2]]), vocab_size=100, embed_dim=8).shape
      torch.Size([1, 3, 8])
    """
    require_integers(ids, "embedding", "[batch, ...]")
    settings = {
        "vocab_size": vocab_size,
        "embed_dim": embed_dim,
        "initializer": initializer,
        "trainable": trainable,
    }
    module = find(table, (), settings, scope, "embedding")
    if regularizer is not None:
        collect(module.weight, regularizer, scope, "weight")
    # Torch looks up int32 and int64 only; records often hold bytes or shorts.
    return module(ids if ids.dtype in (torch.int64, torch.int32) else ids.long())


def one_hot_encoding(
    labels: Tensor, num_classes: int, on_value: float = 1.0, off_value: float = 0.0
) -> Tensor:
    """Return `on_value` at each label's place and `off_value` elsewhere.

    Args:
      labels: integers of any shape [batch, ...]; one outside 0 to num_classes - 1 has no place, and
        gives `off_value` throughout, as in TensorFlow.
      num_classes: number of places.
      on_value: value at the label's place.
      off_value: value at the others.

    Returns:
      [batch, ..., num_classes], of torch's default type.

    Raises:
      DefinitionError: the labels are not integers.

    Example:
      >>> one_hot_encoding(torch.tensor([2, 0]), 3)
      tensor([[0., 0., 1.],
              [1., 0., 0.]])
    """
    require_integers(labels, "one_hot_encoding", "[batch, ...]")
    places = torch.arange(num_classes, device=labels.device)
    hit = (labels.unsqueeze(-1) == places).to(torch.get_default_dtype())
    return hit if on_value == 1.0 and off_value == 0.0 else hit * (on_value - off_value) + off_value

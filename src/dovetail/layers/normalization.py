"""Batch and layer normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dovetail.errors import DefinitionError
from dovetail.layers.calls import call_site
from dovetail.layers.inputs import require_features
from dovetail.layers.layer import find
from dovetail.layers.parameters import First


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over [batch, channels, ...], of any rank.

    It is one of torch's own kind, so that `nn.SyncBatchNorm.convert_sync_batchnorm` finds it. That
    and cuDNN want both a weight and a bias or neither: the one that is not asked for is a
    parameter that is not trained, of ones or zeros.
    """

    held = False  # set where its statistics are frozen; then even a pinned is_training yields

    def __init__(
        self,
        channels: int,
        decay: float,
        center: bool,
        scale: bool,
        epsilon: float,
        trainable: bool,
        first: First,
    ) -> None:
        if not 0 <= decay <= 1:
            raise DefinitionError(
                f"{call_site()}: decay must be a number from 0 to 1, the share of the moving mean "
                f"that is kept at a step; it is {decay!r}."
            )
        super().__init__(
            channels,
            eps=epsilon,
            momentum=1.0 - decay,
            affine=center or scale,
            dtype=first.weight_dtype(),
        )
        if self.affine:
            self.weight.requires_grad_(scale and trainable)
            self.bias.requires_grad_(center and trainable)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any rank."""

    def forward(self, input: Tensor, training: bool | None = None) -> Tensor:
        training = (self.training if training is None else training) and not self.held
        if training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training,
            self.momentum or 0.0,
            self.eps,
        )


def batch_norm(
    inputs: Tensor,
    decay: float = 0.999,
    center: bool = True,
    scale: bool = False,
    epsilon: float = 0.001,
    activation_fn: Callable[[Tensor], Tensor] | None = None,
    *,
    is_training: bool | None = None,
    trainable: bool = True,
    scope: str | None = None,
) -> Tensor:
    """Normalise each channel by its mean and variance over the batch and all positions.

    In training these are the batch's, and moving means of them are kept: each step keeps the share
    `decay` of the old value. The moving variance is the unbiased one, as in torch and in
    TensorFlow's fused kernel. Otherwise the moving means are used.

    Args:
      inputs: [batch, ..., channels], floating point.
      decay: share of the moving means that is kept at a step (1 - torch's momentum).
      center: whether to add a trained bias.
      scale: whether to multiply by a trained weight; needless where a linear layer follows.
      epsilon: added to the variance.
      activation_fn: applied to the result; None for none.
      is_training: None follows the program's mode; True or False pin it.
      trainable: whether weight and bias are trained.
      scope: name of the layer; the same name twice shares the layer.

    Returns:
      The same shape as `inputs`.

    Raises:
      DefinitionError: the inputs have another rank or type, or decay is not from 0 to 1.

    Source: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167

    Example:
      >>> from dovetail import layers
      >>> with layers.scope() as store:
      ...     y = layers.batch_norm(torch.randn(64, 3) * 5 + 2, epsilon=1e-9)
      >>> y.mean(0).abs().max().item() < 1e-5, sorted(dict(store.named_buffers()))[1:]
      (True, ['batch_norm.running_mean', 'batch_norm.running_var'])
    """
    require_features(inputs, "batch_norm")
    rank = inputs.dim()
    settings = {
        "channels": inputs.shape[-1],
        "decay": decay,
        "center": center,
        "scale": scale,
        "epsilon": epsilon,
        "trainable": trainable,
    }
    module = find(BatchNorm, (), settings, scope, "batch_norm", inputs)
    x = inputs if rank == 2 else inputs.movedim(-1, 1)
    # A module that replaced this one, such as SyncBatchNorm, has no second argument.
    y = module(x) if is_training is None else module(x, bool(is_training))
    if rank != 2:
        y = y.movedim(1, -1)
    return y if activation_fn is None else activation_fn(y)


class LayerNorm(nn.Module):
    """Normalisation over trailing dimensions; weight and bias may have fewer of them."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        shape: tuple[int, ...],
        center: bool,
        scale: bool,
        epsilon: float,
        trainable: bool,
        first: First,
    ) -> None:
        super().__init__()
        dtype = first.weight_dtype()
        self.shape = shape
        self.epsilon = epsilon
        ones = nn.Parameter(torch.ones(shape, dtype=dtype), trainable) if scale else None
        zeros = nn.Parameter(torch.zeros(shape, dtype=dtype), trainable) if center else None
        self.register_parameter("weight", ones)
        self.register_parameter("bias", zeros)

    def forward(self, inputs: Tensor, normalized: tuple[int, ...]) -> Tensor:
        if normalized == self.shape:
            return F.layer_norm(inputs, normalized, self.weight, self.bias, self.epsilon)
        y = F.layer_norm(inputs, normalized, None, None, self.epsilon)
        if self.weight is not None:
            y = y * self.weight
        return y if self.bias is None else y + self.bias


def layer_norm(
    inputs: Tensor,
    center: bool = True,
    scale: bool = True,
    activation_fn: Callable[[Tensor], Tensor] | None = None,
    *,
    trainable: bool = True,
    begin_norm_axis: int = 1,
    begin_params_axis: int = -1,
    epsilon: float = 1e-12,
    scope: str | None = None,
) -> Tensor:
    """Normalise each example by its own mean and variance.

    TensorFlow's defaults take them over all dimensions but the first, images and sequences as a
    whole. For each position by itself, as transformers have it, pass `begin_norm_axis=-1`.

    Args:
      inputs: [batch, ..., channels], floating point.
      center: whether to add a trained bias.
      scale: whether to multiply by a trained weight.
      activation_fn: applied to the result; None for none.
      trainable: whether weight and bias are trained.
      begin_norm_axis: mean and variance are over this dimension and all after it.
      begin_params_axis: weight and bias have the shape of this dimension and all after it.
      epsilon: added to the variance.
      scope: name of the layer; the same name twice shares the layer.

    Returns:
      The same shape as `inputs`.

    Raises:
      DefinitionError: the inputs have another rank or type, or an axis is out of range.

    Source: Ba, Kiros and Hinton 2016, https://arxiv.org/abs/1607.06450

    Example:
      >>> from dovetail import layers
      >>> with layers.scope():
      ...     layers.layer_norm(torch.tensor([[1.0, 3.0]]))
      tensor([[-1.,  1.]], grad_fn=<NativeLayerNormBackward0>)
    """
    require_features(inputs, "layer_norm")
    rank = inputs.dim()
    norm_axis = begin_norm_axis if begin_norm_axis >= 0 else rank + begin_norm_axis
    params_axis = begin_params_axis if begin_params_axis >= 0 else rank + begin_params_axis
    if not (0 < norm_axis < rank and 0 < params_axis < rank):
        raise DefinitionError(
            f"{call_site()}: layer_norm of inputs of shape {list(inputs.shape)} takes axes from 1 "
            f"to {rank - 1}; begin_norm_axis is {begin_norm_axis}, begin_params_axis is "
            f"{begin_params_axis}."
        )
    settings = {
        "shape": tuple(inputs.shape[params_axis:]),
        "center": center,
        "scale": scale,
        "epsilon": epsilon,
        "trainable": trainable,
    }
    module = find(LayerNorm, (), settings, scope, "layer_norm", inputs)
    y = module(inputs, tuple(inputs.shape[norm_axis:]))
    return y if activation_fn is None else activation_fn(y)


def normalize(
    outputs: Tensor,
    normalizer_fn: Callable[..., Tensor],
    normalizer_params: Mapping[str, Any] | None,
    scope: str | None,
) -> Tensor:
    """Apply a layer's `normalizer_fn`; a layer that is shared by name shares it too."""
    params = dict(normalizer_params) if normalizer_params else {}
    if scope is not None and (normalizer_fn is batch_norm or normalizer_fn is layer_norm):
        params.setdefault("scope", f"{scope}_{normalizer_fn.__name__}")
    return normalizer_fn(outputs, **params)

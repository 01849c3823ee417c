"""A function of layers as a module of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dovetail.layers.calls import base_name
from dovetail.layers.layer import find
from dovetail.layers.store import Block, current_frame


def block(
    function: Callable[..., Any],
    *args: Any,
    name: str | None = None,
    checkpoint: bool = False,
    **kwargs: Any,
) -> Any:
    """Call `function(*args, **kwargs)` as a module of its own, with its own layer names.

    Sharding (FSDP), activation checkpointing and compiling by region need modules to hold; a block
    gives them one.

    Args:
      function: a function of tensors that uses layers.
      *args: its positional arguments.
      name: the block's name; without it blocks are numbered by the function's name.
      checkpoint: whether to compute the block again in the backward pass instead of keeping its
        activations (`torch.utils.checkpoint`).
      **kwargs: its keyword arguments.

    Returns:
      What the function returns.

    Example:
      >>> import torch
      >>> from dovetail import layers
      >>> def residual(x):
      ...     return x + layers.fully_connected(x, x.shape[-1])
      >>> with layers.scope() as store:
      ...     y = layers.block(residual, layers.block(residual, torch.ones(2, 3)))
      >>> [name for name, _ in store.named_parameters()][::2]
      ['residual.fully_connected.weight', 'residual_1.fully_connected.weight']
    """
    frame = current_frame()
    module = find(Block, (), {}, name, base_name(function))
    if checkpoint and torch.is_grad_enabled() and not torch.compiler.is_exporting():
        from torch.utils.checkpoint import checkpoint as recompute

        result = recompute(module, function, *args, use_reentrant=False, **kwargs)
    else:
        result = module(function, *args, **kwargs)
    output, regularization, summaries = result
    if name is None or f"block {name}" not in frame.regularized:
        frame.regularization.extend(regularization)  # a shared block counts once
        frame.regularized.add(f"block {name}")
    for key, value in summaries.items():
        frame.summaries[key] = value
    return output

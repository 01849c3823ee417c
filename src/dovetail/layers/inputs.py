"""What a layer's inputs must look like, and what is said when they do not."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dovetail.errors import DefinitionError, a_kind
from dovetail.layers.calls import call_site

IMAGES = "[batch, height, width, channels]"
SEQUENCES = "[batch, length, channels]"


def require_images(inputs: Any, function: str) -> None:
    """Refuse what is not a floating point tensor [batch, height, width, channels]."""
    if not isinstance(inputs, Tensor) or inputs.dim() != 4 or not inputs.is_floating_point():
        raise _refusal(inputs, function, IMAGES, 4)


def require_sequences(inputs: Any, function: str) -> None:
    """Refuse what is not a floating point tensor [batch, length, channels]."""
    if not isinstance(inputs, Tensor) or inputs.dim() != 3 or not inputs.is_floating_point():
        raise _refusal(inputs, function, SEQUENCES, 3)


def require_features(inputs: Any, function: str) -> None:
    """Refuse what is not a floating point tensor [batch, ..., features]."""
    if not isinstance(inputs, Tensor) or inputs.dim() < 2 or not inputs.is_floating_point():
        raise _refusal(inputs, function, "[batch, ..., features]", None)


def require_batch(inputs: Any, function: str) -> None:
    """Refuse what is not a tensor [batch, ...] of at least two dimensions."""
    if not isinstance(inputs, Tensor) or inputs.dim() < 2:
        raise _refusal(inputs, function, "[batch, ...]", None, any_type=True)


def require_integers(inputs: Any, function: str, shape: str) -> None:
    """Refuse what is not a tensor of integers."""
    if not isinstance(inputs, Tensor):
        raise _refusal(inputs, function, shape, None)
    if inputs.is_floating_point() or inputs.is_complex() or inputs.dtype is torch.bool:
        raise DefinitionError(
            f"{call_site()}: {function} takes integers, {shape}; it got {inputs.dtype}. If the "
            "values are whole numbers, convert them: inputs.long()."
        )


def too_small(shape: torch.Size, window: tuple[int, ...], function: str) -> DefinitionError:
    """Return the error for inputs [batch, size..., channels] smaller than an unpadded window."""
    return DefinitionError(
        f"{call_site()}: {function} with padding='VALID' needs inputs of at least {list(window)}; "
        f"they have {list(shape[1:-1])} (shape {list(shape)}). Use padding='SAME', a smaller "
        f"kernel_size, or fewer layers that shrink.{_hint(list(shape))}"
    )


def warn_if_channels_first(shape: torch.Size) -> None:
    """Warn about images whose channels seem to come first; called once for each new layer."""
    if len(shape) == 4 and _looks_channels_first(list(shape)):
        warnings.warn(
            f"{call_site()}: inputs of shape {list(shape)} are read as {IMAGES}, so they have "
            f"{shape[3]} channels.{_hint(list(shape))}",
            stacklevel=2,
        )


def _looks_channels_first(shape: list[int]) -> bool:
    _, first, second, last = shape
    wide = second >= 16 and last >= 16
    return wide and (first == 3 or (first == 1 and second == last))


def _hint(shape: list[int]) -> str:
    if len(shape) != 4 or not _looks_channels_first(shape):
        return ""
    return (
        f" The channels seem to come first: if these are images of {shape[2]} x {shape[3]}, write "
        "inputs.permute(0, 2, 3, 1)."
    )


def _refusal(
    inputs: Any, function: str, shape: str, rank: int | None, any_type: bool = False
) -> DefinitionError:
    start = f"{call_site()}: {function} takes a tensor {shape}; it got "
    if isinstance(inputs, Mapping):
        names = ", ".join(repr(str(name)) for name in inputs)
        return DefinitionError(f"{start}a dict. Pass one of its tensors: {names}.")
    if not isinstance(inputs, Tensor):
        return DefinitionError(f"{start}{a_kind(inputs)}.")
    have = list(inputs.shape)
    if inputs.dim() != rank if rank is not None else inputs.dim() < 2:
        cure = ""
        if rank is not None and inputs.dim() == rank - 1:
            cure = " Where only the channels are missing, add them: inputs.unsqueeze(-1)."
        elif rank is not None and inputs.dim() == 2:
            cure = " Give the features back their shape first: inputs.reshape(-1, ...)."
        return DefinitionError(f"{start}shape {have}.{cure}")
    assert not any_type
    return DefinitionError(
        f"{call_site()}: {function} computes with floating point numbers; its inputs, shape "
        f"{have}, are {inputs.dtype}. Convert them first: inputs.float(), or inputs.float() / 255 "
        "for image bytes."
    )

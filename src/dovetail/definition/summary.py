"""Values to look at, recorded from inside a model_fn.

`summary.scalar("gate", gate.mean())` keeps the tensor of this step; the run writes it to the event
log at summary steps and drops it at all others, so that it costs nothing between them.
"""

from __future__ import annotations

from torch import Tensor

from dovetail.errors import DefinitionError, a_kind
from dovetail.layers.store import current_frame

KINDS = ("scalar", "image", "histogram", "text")


def scalar(name: str, tensor: Tensor) -> None:
    """Record a scalar, shape [], under `name`."""
    _record("scalar", name, tensor)


def image(name: str, tensor: Tensor, max_outputs: int = 3) -> None:
    """Record the first `max_outputs` images of [batch, height, width, channels] under `name`."""
    _record("image", name, tensor[:max_outputs] if isinstance(tensor, Tensor) else tensor)


def histogram(name: str, values: Tensor) -> None:
    """Record the distribution of a tensor of any shape under `name`."""
    _record("histogram", name, values)


def text(name: str, tensor: str) -> None:
    """Record a text under `name`: its UTF-8 bytes travel as a tensor."""
    import torch

    if not isinstance(tensor, str):
        raise DefinitionError(f"summary.text('{name}', ...) takes a text; it got {a_kind(tensor)}.")
    _record("text", name, torch.tensor(list(tensor.encode()), dtype=torch.uint8))


def _record(kind: str, name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise DefinitionError(
            f"summary.{kind}('{name}', ...) takes a tensor; it got {a_kind(tensor)}."
        )
    current_frame().summaries[f"{kind}/{name}"] = tensor.detach()

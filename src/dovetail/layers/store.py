"""Layers that are made once and found again at every call.

PyTorch calls a `model_fn` at every step, so a layer written inline must be built on the first
call and returned on all later ones. Each program owns a root module (a `Store`); the layers are
its children, and a `Block` is a child that has children of its own. What one call has used so far
is a `Frame`; the current frame sits in a thread-local slot, which `torch.compile` and
`torch.export` can trace (setting a ContextVar they cannot).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.errors import DefinitionError
from dovetail.layers.calls import call_site

_slot = threading.local()


@dataclass(frozen=True, eq=False)
class Made:
    """How a layer was first asked for: what a later call of the same name is held against."""

    factory: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    place: str

    def __deepcopy__(self, memo: dict[int, Any]) -> Made:
        return self  # a copied program still answers to the module its model_fn holds


class Frame:
    """What one call of a model_fn, or of a block, has used so far."""

    __slots__ = ("counts", "owner", "regularization", "regularized", "summaries")

    def __init__(self, owner: Holder) -> None:
        self.owner = owner
        self.counts: dict[str, int] = {}
        self.regularization: list[Tensor] = []
        self.regularized: set[str] = set()
        self.summaries: dict[str, Tensor] = {}


class Holder(nn.Module):
    """A module whose children are layers asked for by name."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, Made] = {}
        # base name -> the layers without parameters or buffers that were asked for under it
        self.stateless: dict[str, list[tuple[Made, nn.Module]]] = {}


class Store(Holder):
    """The root of a program's layers.

    Attributes:
      sealed: whether the program is built; then no layer with parameters may be added.
      device: where layers are moved when they are made; None leaves them where they are made.
      fresh_buffers: buffers with their first values, so that the building call leaves no trace
        in running statistics.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sealed = False
        self.device: torch.device | None = None
        self.fresh_buffers: list[tuple[nn.Module, str, Tensor, Tensor]] = []
        self.root: list[Store] = [self]  # in a list, so that it is no child module

    def seal(self) -> None:
        """Forbid new layers and put every buffer back to its first value."""
        with torch.no_grad():
            for module, name, buffer, first in self.fresh_buffers:
                buffer.copy_(first)
                module._buffers[name] = buffer  # a module may have put another in its place
        self.fresh_buffers.clear()
        self.sealed = True


class Block(Holder):
    """A function of layers that is a module of its own: see `block`.

    Its forward opens its own frame, so it can be run again on its own, as activation
    checkpointing does in the backward pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.root: list[Store] = []  # its owner's, once it is made

    def forward(
        self, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> tuple[Any, list[Tensor], dict[str, Tensor]]:
        frame, previous = enter(self)
        try:
            output = function(*args, **kwargs)
        finally:
            leave(previous)
        return output, frame.regularization, frame.summaries


def current_frame() -> Frame:
    """Return the frame of the model_fn or block that is running in this thread.

    Raises:
      DefinitionError: no model_fn is running here.
    """
    frame = getattr(_slot, "frame", None)
    if frame is None:
        raise DefinitionError(
            f"{call_site()}: layers can only be used inside a model_fn that Dovetail calls. To run "
            "a model_fn by hand, write `with dovetail.layers.scope(): model_fn(...)`. If this call "
            "stands inside torch.utils.checkpoint, use "
            "`dovetail.layers.block(function, ..., checkpoint=True)` instead."
        )
    return frame


def in_call() -> bool:
    """Whether layers can be made here: a model_fn or block is running in this thread."""
    return getattr(_slot, "frame", None) is not None


def enter(owner: Holder) -> tuple[Frame, Frame | None]:
    """Make `owner` the holder of the layers that are asked for, until `leave`.

    It is what `entered` does, for the calls of each step: a `with` of a generator takes longer.

    Returns:
      its frame, and the frame before, which `leave` puts back.
    """
    previous = getattr(_slot, "frame", None)
    frame = Frame(owner)
    _slot.frame = frame
    return frame, previous


def leave(previous: Frame | None) -> None:
    """Put the frame back that was there before `enter`."""
    _slot.frame = previous


@contextmanager
def entered(owner: Holder) -> Iterator[Frame]:
    """Make `owner` the holder of the layers that are asked for inside the `with` block."""
    frame, previous = enter(owner)
    try:
        yield frame
    finally:
        leave(previous)


@contextmanager
def scope(store: Store | None = None) -> Iterator[Store]:
    """Run a model_fn by hand: layers are kept in `store`, a new one if none is given.

    Example:
      >>> import torch
      >>> from dovetail import layers
      >>> with layers.scope() as store:
      ...     y = layers.fully_connected(torch.ones(2, 3), 4)
      >>> [name for name, _ in store.named_parameters()]
      ['fully_connected.weight', 'fully_connected.bias']
      >>> with layers.scope(store):  # the same weights again
      ...     again = layers.fully_connected(torch.ones(2, 3), 4)
      >>> torch.equal(y, again)
      True
    """
    store = Store() if store is None else store
    with entered(store):
        yield store

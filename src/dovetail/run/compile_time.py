"""Compiling is counted for itself, wherever in a run torch.compile does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dovetail.run.goodput import Goodput


@contextmanager
def counted(goodput: Goodput) -> Iterator[None]:
    """Count the time in which torch.compile compiles as "compile" inside the `with` block.

    The first step of each kind compiles (of another batch size, of a summary, of an evaluation),
    and a backward pass when it is first needed; a model may compile parts of itself besides.

    Args:
      goodput: of the run; the phase in which it was found goes on afterwards.

    Example:
      >>> import torch
      >>> goodput = Goodput()
      >>> goodput.switch("step")
      >>> with counted(goodput):
      ...     doubled = torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(3))
      >>> goodput.phase, goodput.seconds["compile"] > 0
      ('step', True)
    """
    # Not loaded for this: torch imports it with its first optimizer.
    from torch._dynamo.callback import callback_handler

    before: list[str] = []

    def begin(*_: object) -> None:
        before.append(goodput.phase)
        goodput.switch("compile")

    def end(*_: object) -> None:
        if before:
            goodput.switch(before.pop())

    callback_handler.register_start_callback(begin)
    callback_handler.register_end_callback(end)
    try:
        yield
    finally:
        with suppress(ValueError):  # torch.compiler.reset() has removed them
            callback_handler.remove_start_callback(begin)
        with suppress(ValueError):
            callback_handler.remove_end_callback(end)

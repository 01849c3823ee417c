"""Bringing an input that can't be positioned to where a run stands: drawing, and dropping."""

from __future__ import annotations

import time
from collections.abc import Callable

from dovetail.data.feed import Fed
from dovetail.errors import DataError

_SAID_EVERY = 10.0  # seconds


def dropped(
    draw: Callable[[int], Fed | None],
    position: int,
    *,
    name: str,
    say: Callable[[str], object],
    stopped: Callable[[], bool],
) -> int:
    """Draw and drop the batches before a position; return where that ended.

    Args:
      draw: gives the batch that begins at a position, or None at the end.
      position: in examples.
      name: of the input, for messages.
      say: is told of the beginning, the progress and the end.
      stopped: asked before each batch; if it says so, the rest is left.

    Raises:
      DataError: no batch ends at the position, so the input is another than the run had.

    >>> draw = lambda at: Fed(None, None, at + 4, 4)
    >>> dropped(draw, 8, name="it", say=lambda text: None, stopped=lambda: False)
    8
    """
    say(
        f"{name} can't be positioned: the {position:,} examples that were used before are drawn "
        "again and dropped."
    )
    at, started = 0, time.monotonic()
    said = started
    while at < position and not stopped():
        fed = draw(at)
        if fed is None or fed.position_after > position:
            found = (
                f"it ended after {at:,}"
                if fed is None
                else f"it has batches that end at {at:,} and {fed.position_after:,}"
            )
            raise DataError(
                f"{name} can't be brought to example {position:,}, where the run stands: {found}. "
                "It is not what the run was trained on (other data, another batch size), or the "
                "run took it more than once. Give the same input again, or choose "
                "unpositioned_input='restart'."
            )
        at = fed.position_after
        if time.monotonic() - said >= _SAID_EVERY:
            said = time.monotonic()
            say(f"{name}: {at:,} of {position:,} examples are dropped.")
    if at == position:
        say(f"{name} is at example {position:,}, after {time.monotonic() - started:.1f} s.")
    return at

"""Where the time of a run went: the share in steps, and what took the rest."""

from __future__ import annotations

import time
from collections.abc import Callable


class Goodput:
    """A clock that is always in one phase: each switch adds the time since the last to the phase.

    Args:
      clock: seconds, never going back.

    Example:
      >>> ticks = iter([0.0, 1.0, 4.0])
      >>> goodput = Goodput(lambda: next(ticks))
      >>> goodput.switch("step")
      >>> goodput.switch("data")
      >>> goodput.seconds
      {'setup': 1.0, 'step': 3.0}
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._phase = "setup"
        self._since = clock()
        self.seconds: dict[str, float] = {}

    def switch(self, phase: str) -> None:
        """Begin a phase; the time since the last switch counts for the one before."""
        now = self._clock()
        self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now

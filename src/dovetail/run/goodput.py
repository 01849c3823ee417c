"""Where the time of a run went: the share in steps, and what took the rest."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

GOOD = "step"
"""The phase that is what a run is for."""


class Goodput:
    """A clock that is always in one phase: each switch adds the time since the last to the phase.

    A run is in "setup" first; then in "data" (waiting for a batch), "step", "checkpoint" (what the
    loop waits for), "evaluation", "hooks", "compile" (a first step that is compiled), or any other
    name. On an accelerator the phase is the one in which the host waits: work that was queued in a
    step and is waited for while a loss is read counts where it is read.

    Args:
      clock: seconds, never going back.

    Attributes:
      seconds: the time of each phase up to the last switch.

    Example:
      >>> ticks = iter([0.0, 1.0, 4.0, 4.5, 5.0, 5.0, 5.0])
      >>> goodput = Goodput(lambda: next(ticks))
      >>> goodput.switch("step")
      >>> goodput.switch("data")
      >>> dict(goodput.seconds)
      {'setup': 1.0, 'step': 3.0}
      >>> goodput.switch("step")
      >>> goodput.line()
      'Goodput 70%: 3.5 s of 5.0 s in steps; setup 20%, data 10%.'
    """

    __slots__ = ("_clock", "_phase", "_reported", "_since", "seconds")

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._phase = "setup"
        self._since = clock()
        self._reported: dict[str, float] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def switch(self, phase: str) -> None:
        """Begin a phase; the time since the last switch counts for the one before.

        It is called several times a step, so it does no more than that.
        """
        now = self._clock()
        self.seconds[self._phase] += now - self._since
        self._phase = phase
        self._since = now

    @property
    def phase(self) -> str:
        """The present phase."""
        return self._phase

    def totals(self) -> dict[str, float]:
        """Return the seconds of each phase, those of the present one included."""
        totals = dict(self.seconds)
        totals[self._phase] = totals.get(self._phase, 0.0) + self._clock() - self._since
        return totals

    def shares(self) -> dict[str, float]:
        """Return the share of each phase in the time so far; together they are 1."""
        return _shares(self.totals())

    def scalars(self) -> dict[str, float]:
        """Return the shares of the time since the last call, as curves for the event log.

        Example:
          >>> ticks = iter([0.0, 1.0, 2.0, 3.0, 4.0, 6.0])
          >>> goodput = Goodput(lambda: next(ticks))
          >>> goodput.switch("step")
          >>> goodput.scalars()
          {'goodput/setup': 0.5, 'goodput/step': 0.5}
          >>> goodput.switch("data")
          >>> goodput.scalars()
          {'goodput/setup': 0.0, 'goodput/step': 0.5, 'goodput/data': 0.5}
        """
        totals = self.totals()
        since = {phase: total - self._reported.get(phase, 0.0) for phase, total in totals.items()}
        self._reported = totals
        return {f"goodput/{phase}": share for phase, share in _shares(since).items()}

    def line(self) -> str:
        """Return one line for a person: the share of steps, then what took the rest."""
        return line(self.totals())


def line(seconds: dict[str, float]) -> str:
    """Return one line for a person about the seconds of each phase.

    >>> line({"setup": 0.5, "step": 98.0, "data": 1.5})
    'Goodput 98%: 1 min 38 s of 1 min 40 s in steps; data 2%, setup under 1%.'
    """
    shares = _shares(seconds)
    rest = sorted((phase for phase in shares if phase != GOOD), key=lambda p: -shares[p])
    parts = [f"{phase} {_percent(shares[phase])}" for phase in rest if shares[phase] >= 0.001]
    spent, whole = seconds.get(GOOD, 0.0), sum(seconds.values())
    said = (
        f"Goodput {_percent(shares.get(GOOD, 0.0))}: {_length(spent)} of {_length(whole)} in steps"
    )
    return f"{said}; {', '.join(parts)}." if parts else f"{said}."


def _shares(seconds: dict[str, float]) -> dict[str, float]:
    whole = sum(seconds.values())
    return {phase: spent / whole if whole > 0 else 0.0 for phase, spent in seconds.items()}


def _percent(share: float) -> str:
    if 0 < share < 0.01:
        return "under 1%"
    # 100% is said of nothing that is less.
    return f"{min(round(share * 100), 99) if share < 1 else 100}%"


def _length(seconds: float) -> str:
    """Return a length of time.

    >>> _length(59.94), _length(600), _length(7500)
    ('59.9 s', '10 min 0 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"

"""When a hook does its work: every so many steps, or every so many seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from dovetail.errors import ParamsError
from dovetail.hooks.arguments import positive, whole
from dovetail.run.hooks import Run


class Due:
    """Says at which steps something is due. Asking costs a division or a look at the clock.

    Steps are counted from the beginning of the run, so a resumed run does its work at the same
    steps. In an evaluation and a prediction, where the global step stands still, batches count.

    Args:
      hook: the name of whose it is, for messages.
      every_steps: due at step 1 and at every multiple of it.
      every_secs: due at the first step, and then at the first after so many seconds.
      by_default: what every_steps is where neither is given.
      clock: seconds, never going back.

    Raises:
      ParamsError: both are given, or one is out of range.

    >>> class At:
    ...     config, step = "a RunConfig", 0
    >>> due, run = Due("Log", 10), At()
    >>> for run.step in range(1, 31):
    ...     if due.after(run):
    ...         print(run.step, end=" ")
    1 10 20 30
    """

    def __init__(
        self,
        hook: str,
        every_steps: int | None = None,
        every_secs: float | None = None,
        *,
        by_default: int = 100,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if every_steps is not None and every_secs is not None:
            raise ParamsError(
                f"hooks.{hook} got every_steps={every_steps} and every_secs={every_secs}; give "
                "one of them."
            )
        if every_secs is not None:
            every_secs = positive(hook, "every_secs", every_secs, "seconds")
        steps = by_default if every_steps is None else every_steps
        self.every_steps = whole(hook, "every_steps", steps, 1)
        self.every_secs = every_secs
        self._clock = clock
        self._next = float("-inf")
        self._batches = 0

    def begin(self) -> None:
        """Forget an earlier run."""
        self._next = float("-inf")
        self._batches = 0

    def before(self, run: Run) -> bool:
        """Whether the step that comes now is due; called before each step."""
        return self._is(self._count(run, 1))

    def after(self, run: Run) -> bool:
        """Whether the step that is finished is due; called after each step."""
        return self._is(self._count(run, 0))

    def _count(self, run: Run, ahead: int) -> int:
        if run.config is not None:
            return run.step + ahead
        self._batches += 1
        return self._batches

    def _is(self, step: int) -> bool:
        if self.every_secs is None:
            return step % self.every_steps == 0 or step == 1
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self.every_secs
        return True

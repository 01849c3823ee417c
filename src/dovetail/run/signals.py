"""Signals that end a run: the step is finished and its state saved before they take effect."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """Whether a signal has asked the run to end.

    Attributes:
      signal: the signal's number, or None.
    """

    signal: int | None = None

    def take_effect(self) -> None:
        """Do what the signal would have done at once: SIGINT interrupts, SIGTERM exits with 143."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise SystemExit(128 + self.signal)


@contextmanager
def noticed() -> Iterator[Stop]:
    """Notice SIGINT and SIGTERM instead of dying of them; a second SIGINT interrupts at once.

    Signal handlers can be set in the main thread only; elsewhere nothing is changed.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.signal == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = number

    previous = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

"""How much memory a run uses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from dovetail.hooks.arguments import positive
from dovetail.hooks.due import Due
from dovetail.hooks.event_log import writer_of
from dovetail.run.hooks import Hook, Run

_GB = 1e9


class Memory(Hook):
    """Writes the memory of the process and of the device to the event log, and warns of a limit.

    Curves, in GB (10^9 bytes): `memory/process` (anonymous memory, so without what is mapped from
    files; where that is not told, the peak of all), and on an accelerator `memory/allocated`,
    `memory/peak` (since the program's start) and `memory/reserved`. Costs a division at each step;
    a point costs 50 microseconds and waits for nothing.

    Args:
      limit_gb: show a line when the process uses more, and again after each further tenth.
      device_limit_gb: the same for the device's peak.
      every_steps: write at step 1 and every multiple of it; 100.
      every_secs: instead, write once in so many seconds.

    Raises:
      ParamsError: an argument is out of range, or the hook is given to an evaluation.

    Example:
      >>> Memory(limit_gb=12).limit_gb
      12.0
    """

    def __init__(
        self,
        *,
        limit_gb: float | None = None,
        device_limit_gb: float | None = None,
        every_steps: int | None = None,
        every_secs: float | None = None,
    ) -> None:
        self.limit_gb = _limit("limit_gb", limit_gb)
        self.device_limit_gb = _limit("device_limit_gb", device_limit_gb)
        self._due = Due("Memory", every_steps, every_secs)
        self._warn_at: dict[str, float] = {}

    def begin(self, run: Run) -> None:
        self._due.begin()
        self._warn_at = {}
        if self.limit_gb is not None:
            self._warn_at["memory/process"] = self.limit_gb
        if self.device_limit_gb is not None:
            self._warn_at["memory/peak"] = self.device_limit_gb
        writer_of(run, "Memory")

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        if not self._due.after(run):
            return
        values = {"memory/process": process_bytes() / _GB, **_of_device(run.program.device)}
        writer_of(run, "Memory").scalars(values, run.step)
        for tag, limit in self._warn_at.items():
            if values.get(tag, 0.0) > limit:
                what = "the process" if tag == "memory/process" else f"{run.program.device}"
                run.note(
                    f"Memory: {what} uses {values[tag]:.2f} GB at step {run.step}, more than the "
                    f"{limit:.2f} GB it was to stay within."
                )
                self._warn_at[tag] = max(limit, values[tag]) * 1.1


def process_bytes() -> int:
    """Return the anonymous memory of this process; where that is not told, its peak of all.

    >>> process_bytes() > 1e6
    True
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _of_device(device: torch.device) -> dict[str, float]:
    if device.type != "cuda":
        return {}
    return {
        "memory/allocated": torch.cuda.memory_allocated(device) / _GB,
        "memory/peak": torch.cuda.max_memory_allocated(device) / _GB,
        "memory/reserved": torch.cuda.memory_reserved(device) / _GB,
    }


def _limit(name: str, value: float | None) -> float | None:
    return None if value is None else positive("Memory", name, value, "GB")

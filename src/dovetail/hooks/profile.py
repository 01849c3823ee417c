"""A trace of some steps by torch's profiler, and the operations that took the most time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dovetail.hooks.arguments import whole
from dovetail.run.hooks import Hook, Run


class Profile(Hook):
    """Records some steps with torch.profiler, for chrome://tracing or ui.perfetto.dev.

    Writes `profile/trace_<first>_<last>.json` (a Chrome trace) and `profile/ops_<first>_<last>.txt`
    (a table of operations) in model_dir, named after the steps that they hold. Costs a comparison
    at each step outside; a step that is recorded takes up to twice as long, and writing the trace
    about a second for each 10,000 operations.

    Args:
      wait: how many steps of this run to let pass; 10, so that it is warm.
      warmup: how many to record and throw away, since the profiler's start is slow; at least 1.
      active: how many to keep.
      repeat: how often to do all that.
      record_shapes: keep the shapes of inputs.
      profile_memory: keep what was allocated.
      with_stack: keep the lines of Python; slow.
      top: how many operations the table holds.

    Raises:
      ParamsError: an argument is out of range.

    Example:
      >>> Profile(wait=100, active=2, repeat=1).active
      2
    """

    def __init__(
        self,
        wait: int = 10,
        warmup: int = 2,
        active: int = 3,
        *,
        repeat: int = 1,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        top: int = 30,
    ) -> None:
        self.wait = whole("Profile", "wait", wait, 0)
        self.warmup = whole("Profile", "warmup", warmup, 1)
        self.active = whole("Profile", "active", active, 1)
        self.repeat = whole("Profile", "repeat", repeat, 1)
        self.top = whole("Profile", "top", top, 1)
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self._profiler: torch.profiler.profile | None = None
        self._seen = 0  # steps since the begin, or since the last trace
        self._times = 0
        self._done = 0  # in all

    def begin(self, run: Run) -> None:
        self._stop()
        self._seen = self._times = self._done = 0

    def before_step(self, run: Run) -> None:
        if self._times < self.repeat and self._seen == self.wait and self._profiler is None:
            self._profiler = torch.profiler.profile(
                activities=_activities(run.program.device),
                schedule=torch.profiler.schedule(
                    wait=0, warmup=self.warmup, active=self.active, repeat=1
                ),
                acc_events=True,  # without, torch warns that a later cycle would drop events
                record_shapes=self.record_shapes,
                profile_memory=self.profile_memory,
                with_stack=self.with_stack,
            )
            self._profiler.start()

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        self._seen += 1
        self._done += 1
        if self._profiler is None:
            return
        if self._seen < self.wait + self.warmup + self.active:
            self._profiler.step()
            return
        profiler = self._profiler
        self._stop()
        self._times, self._seen = self._times + 1, 0
        last = run.step if run.config is not None else self._done
        try:
            self._write(profiler, run, last - self.active + 1, last)
        except OSError as error:  # a full disk, say: no reason to end a training
            run.note(f"Profile: the trace can't be written: {error}. The run goes on.")

    def end(self, run: Run) -> None:
        if self._times < self.repeat:
            needed = self.wait + self.warmup + self.active
            run.note(
                f"Profile: the run ended after {self._seen} of the {needed} steps that it takes to "
                f"wait for, warm up and record (trace {self._times + 1} of {self.repeat}); that "
                "one is not written. Lower wait."
            )
        self._stop()

    def on_error(self, run: Run, error: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        profiler, self._profiler = self._profiler, None
        if profiler is not None:
            profiler.stop()

    def _write(self, profiler: torch.profiler.profile, run: Run, first: int, last: int) -> None:
        folder = Path(run.model_dir, "profile")
        folder.mkdir(parents=True, exist_ok=True)
        trace = folder / f"trace_{first}_{last}.json"
        aside = trace.with_name(f".{trace.name}")
        profiler.export_chrome_trace(str(aside))
        aside.replace(trace)
        by = "self_cpu_time_total"
        if run.program.device.type != "cpu":
            by = "self_device_time_total"
        table = profiler.key_averages().table(
            sort_by=by, row_limit=self.top, max_name_column_width=80
        )
        (folder / f"ops_{first}_{last}.txt").write_text(table + "\n", encoding="utf-8")
        run.note(f"Profile: steps {first} to {last} are in {trace}")


def _activities(device: torch.device) -> list[torch.profiler.ProfilerActivity]:
    kinds = torch.profiler.ProfilerActivity
    of_device = {"cuda": kinds.CUDA, "xpu": kinds.XPU}.get(device.type)
    return [kinds.CPU] if of_device is None else [kinds.CPU, of_device]

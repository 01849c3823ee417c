"""The record of the run in progress: what it is made of, compared with what it was, and its end."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dovetail.errors import DovetailError
from dovetail.program.program import Program
from dovetail.run import fingerprint, provenance, tensor_sums
from dovetail.run.config import RunConfig
from dovetail.run.hooks import Run
from dovetail.run.inputs import Input

FINGERPRINT = "fingerprint"
"""Its name in a checkpoint's state."""


class RunRecord:
    """What is recorded of one call of train, beside what `provenance.record` wrote.

    Args:
      program: built, and restored where the run goes on.
      source: its input, once the first batch is drawn.
      config: how the run is done.
      model_dir: where it is kept.
      step, position: where the run stands.

    Attributes:
      fingerprint: what the run is made of; it belongs in the state of each checkpoint.
    """

    def __init__(
        self,
        program: Program,
        source: Input,
        config: RunConfig,
        model_dir: str | os.PathLike[str],
        *,
        step: int,
        position: int,
    ) -> None:
        self.program = program
        self.source = source
        self.model_dir = model_dir
        self.stands = {"step": step, "position": position}
        self.fingerprint: dict[str, Any] = fingerprint.take(program, source, config)
        self._folder: Path | None = None
        self._ended = False

    def differences(self, state: Mapping[str, Any] | None = None) -> list[str]:
        """Say how the run differs from what it was: a line for each thing; none for a new run.

        To be called before `provenance.record` writes that of this run.

        Args:
          state: of the checkpoint that is gone on from.
        """
        if not self.stands["step"]:
            return []
        return fingerprint.differences(self.model_dir, self.fingerprint, state)

    def begin(self) -> None:
        """Add fingerprint and data to the newest record; nothing where there is none."""
        self._folder = provenance.newest(self.model_dir)
        if self._folder is None or (self._folder / "fingerprint.json").exists():
            self._folder = None  # a caller that keeps no records
            return
        provenance.add(self._folder, "fingerprint", {**self.fingerprint, "from": self.stands})
        provenance.add(self._folder, "data", self.source.manifest())

    def end(self, step: int, position: int, why: str, loss: float, *, whole: bool = True) -> None:
        """Add how the run ended.

        Args:
          step, position: where it stands.
          why: "max_steps", "input ended", "hook", "signal", or the error that ended it.
          loss: of the last step.
          whole: whether the program's state is that of `step`, so that it can be summed; it may
            not be after an error.
        """
        if self._folder is None:
            return
        self._ended = True
        ended: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "step": step,
            "position": position,
            "why": why,
            "loss": loss,
        }
        if whole:
            summed = tensor_sums.sums(self.program.state())
            ended |= {"model_sha256": tensor_sums.total(summed), "tensors": summed}
        provenance.add(self._folder, "ended", ended)

    @contextlib.contextmanager
    def error_noted(self, run: Run) -> Iterator[None]:
        """Add as the end what ends the `with` block by an error, if there was no other end.

        Args:
          run: says where it stands then.
        """
        try:
            yield
        except BaseException as error:
            if not self._ended:
                said = f"{type(error).__name__}: {error}".splitlines()[0]
                with contextlib.suppress(DovetailError):  # the disk may be what failed
                    self.end(run.step, run.position, said, math.nan, whole=False)
            raise

"""The program that an Estimator holds, and which checkpoint's state it has.

What it has already is not read again: a training after an evaluation, or the other way round.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from dovetail.definition.modes import ModeKeys
from dovetail.errors import CheckpointError
from dovetail.program.devices import choose_device
from dovetail.program.program import Program
from dovetail.run import checkpoint
from dovetail.run.resolve import Resolved


@dataclass(frozen=True)
class _Live:
    """Which checkpoint's state a program has; `whole` if its optimizers have it too."""

    path: Path
    whole: bool


@dataclass(frozen=True)
class Lent:
    """A program that is somebody else's for a while."""

    program: Program
    live: _Live | None


class Held:
    """One program at most, made when it is needed, and what it knows.

    Args:
      resolved: what to make programs of.
    """

    def __init__(self, resolved: Resolved) -> None:
        self._resolved = resolved
        self._program: Program | None = None
        self._live: _Live | None = None

    def program_for(self, mode: str) -> Program:
        """Return a program that can do what `mode` asks, made anew where the one held can't."""
        program = self._program
        # A program built without labels lacks what only training or evaluation uses.
        fitting = (None, ModeKeys.TRAIN, mode)
        if program is not None and mode != ModeKeys.PREDICT and program.built_in not in fitting:
            program = None
        if program is None:
            self._live = None
            config = self._resolved.config
            program = self._program = Program(
                self._resolved.definition,
                device=choose_device(config.device),
                seed=config.seed,
                precision=config.precision,
                loss_scale=config.loss_scale,
                execution=config.execution,
                config=config,
                ema_decay=config.ema_decay,
                freeze=config.freeze,
                recompute=config.recompute,
            )
        return program

    def take(self) -> tuple[Program, Path | None]:
        """Return a program to train, and the checkpoint whose whole state it has, if any.

        Until `has` is called it counts as having none.
        """
        program = self.program_for(ModeKeys.TRAIN)
        held, self._live = self._live, None
        return program, held.path if held is not None and held.whole else None

    def has(self, path: Path, *, whole: bool) -> None:
        """Say which checkpoint's state the program has; `whole` if its optimizers have it too."""
        self._live = _Live(path, whole)

    def forget(self) -> None:
        """Drop the program: its state is nobody knows what."""
        self._program, self._live = None, None

    def restored(
        self, path: str | os.PathLike[str] | None, mode: str
    ) -> checkpoint.Checkpoint | None:
        """Load a checkpoint, the newest good one by default; None if the program has its state.

        Raises:
          CheckpointError: there is none, or it is damaged.
        """
        model_dir = self._resolved.config.model_dir
        assert model_dir is not None
        if path is None:
            newest_of(model_dir)  # refuses where there is none
        program = self.program_for(mode)
        if self._live is not None and program.built:
            wanted = checkpoint.latest_good_path(model_dir) if path is None else Path(path)
            if self._live.path == wanted:
                return None
        if path is not None:
            return checkpoint.load(Path(path))

        def note(text: str) -> None:
            warnings.warn(text, stacklevel=5)

        return checkpoint.latest_good(model_dir, note)

    def lend(self, restored: checkpoint.Checkpoint | None) -> Lent:
        """Give the program away; the next that is asked for is another.

        Args:
          restored: what will be put into it.
        """
        assert self._program is not None
        live = self._live if restored is None else _Live(restored.path, whole=False)
        lent = Lent(self._program, live)
        self.forget()
        return lent

    def give_back(self, lent: Lent) -> None:
        """Take a program back, unless another was made meanwhile."""
        if self._program is None:
            self._program, self._live = lent.program, lent.live


def newest_of(model_dir: str | os.PathLike[str]) -> Path:
    """Return the newest checkpoint's path.

    Raises:
      CheckpointError: there is none.
    """
    newest = checkpoint.latest(model_dir)
    if newest is None:
        raise CheckpointError(
            f"There is no checkpoint in {model_dir}: untrained weights say nothing. Train "
            "first, or give the checkpoint_path of another run."
        )
    return newest

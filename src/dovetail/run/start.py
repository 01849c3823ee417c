"""What comes before the first step: where the run stands, its input, its layers and its state."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dovetail.data.feed import Fed
from dovetail.definition.metrics import MetricSet
from dovetail.definition.modes import ModeKeys
from dovetail.errors import DataError
from dovetail.program.batches import cut
from dovetail.program.devices import other_than_asked
from dovetail.program.program import Program
from dovetail.program.randomness import kept_generators, seeded
from dovetail.run import checkpoint, checkpoint_read, saving, signals, warm_starting
from dovetail.run.batch_errors import explained
from dovetail.run.checkpoint import Checkpoint
from dovetail.run.config import RunConfig
from dovetail.run.flow_input import FlowInput
from dovetail.run.inputs import Input
from dovetail.run.record_input import RecordInput

# In a checkpoint's state: what the input needs to go on from there; and whether the checkpoint was
# due, or saved only because something ended the run: such a one is not evaluated.
INPUT, DUE = "input", "due"


@dataclass(frozen=True)
class Standing:
    """Where a run stands before it goes on.

    Attributes:
      step: finished steps.
      position: examples used, since the beginning of the run.
      newest: the newest good checkpoint, or None.
      restored: what was read of it; None where the program has its state already.
    """

    step: int
    position: int
    newest: Path | None
    restored: Checkpoint | None

    @property
    def due(self) -> bool:
        """Whether its evaluations, if they are missing, were missed by a run that was killed."""
        return self.restored is not None and bool(self.restored.state.get(DUE, True))


def standing(
    program: Program, model_dir: Path, live: Path | None, note: Callable[[str], None]
) -> Standing:
    """Find the newest good checkpoint, and read it unless the program has its state.

    Args:
      program: its state is that of checkpoint `live`, if that is given.
      model_dir: of the run.
      live: a checkpoint, or None.
      note: is told of each damaged checkpoint that is passed over.
    """
    newest = checkpoint.latest(model_dir)
    if newest is None:
        return Standing(0, 0, None, None)
    if newest == live:
        return Standing(program.global_step, program.position, newest, None)
    restored = checkpoint.latest_good(model_dir, note)
    if restored is None:
        return Standing(0, 0, None, None)
    position = int(restored.state.get("position") or 0)
    return Standing(restored.step, position, restored.path, restored)


@contextlib.contextmanager
def first_batch(
    program: Program,
    open_source: Callable[[], Input],
    at: Standing,
    stop: signals.Stop,
    note: Callable[[str], None],
) -> Iterator[tuple[Input, Generator[Fed], Fed | None]]:
    """Open the input, and draw the batch that comes first from where the run stands.

    Yields:
      the input; its batches, closed on leaving; the first of them, None if there is none.

    Raises:
      DataError: a new run has no batch.
    """
    with contextlib.ExitStack() as stack:
        with seeded(program.seed):
            source = open_source()
            batches = source.batches(
                at.position,
                state=_state_of_input(at),
                say=note,
                stopped=lambda: stop.signal is not None,
            )
            stack.enter_context(contextlib.closing(batches))
            fed = next(batches, None)
        if fed is None:
            stop.take_effect()
            if at.step == 0:
                raise DataError(f"{source.name} gave no batch, so there is nothing to train on.")
        yield source, batches, fed


def _state_of_input(at: Standing) -> dict[str, Any] | None:
    if at.restored is not None:
        return at.restored.state.get(INPUT)
    # The program has its state already; the input, which is opened anew, has not.
    return checkpoint_read.state(at.newest).get(INPUT) if at.newest is not None else None


def put_in_place(
    program: Program,
    source: Input,
    fed: Fed,
    at: Standing,
    config: RunConfig,
    note: Callable[[str], None],
) -> None:
    """Make the layers on the first batch, and give them the state that the run goes on from."""
    known = source if isinstance(source, (RecordInput, FlowInput)) else None
    epoch = program.network.epoch  # a program trained before has that of its last input
    epoch.examples = known.epoch_examples if known is not None else None
    epoch.batch_size = known.batch_size if known is not None else None
    elsewhere = other_than_asked(program.definition, program.device)
    if elsewhere is not None:
        note(elsewhere)
    if not program.built:
        with explained("building the model", source, fed):
            program.build(*cut(fed.features, fed.labels, config.parts)[0])
    if at.restored is not None:
        saving.restore(program, at.restored)
    if config.warm_start_from is not None:
        warm_starting.apply(program, config.warm_start_from, note, at.newest)


def make_ready(program: Program) -> None:
    """Make the optimizers and one set of metrics: the first of each imports for a second or two.

    So that this time is the setup's, and not the first save's and the first summary's.
    """
    program.optimizers  # noqa: B018 (they are made when they are first asked for)
    MetricSet(program.statics(ModeKeys.TRAIN).metrics)


@contextlib.contextmanager
def own_surroundings(config: RunConfig) -> Iterator[signals.Stop]:
    """Have generators, determinism and signals to oneself inside the `with` block.

    Yields:
      whether a signal has asked the run to end.
    """
    with kept_generators(), _deterministic(config.deterministic), signals.noticed() as stop:
        yield stop


@contextlib.contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)

"""A program's state to a checkpoint and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from dovetail.definition.definition import RUN_KEYS
from dovetail.definition.modes import ModeKeys
from dovetail.definition.optimizers import Custom
from dovetail.errors import CheckpointError, NanLossError
from dovetail.program.program import Program
from dovetail.run import checkpoint, provenance
from dovetail.run.checkpoint import Checkpoint
from dovetail.run.optimizer_state import optimizer_state, restore_optimizer
from dovetail.run.resolve import leaves


@dataclasses.dataclass(frozen=True, eq=False)
class Gathered:
    """What a checkpoint of a program holds: its own tensors, not copies.

    Attributes:
      step: the number of finished steps.
      model: parameters and persistent buffers by name.
      optimizer: tensors and plain values of the optimizers and of the averages.
      state: plain values.
    """

    step: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, object]
    state: dict[str, object]


def gather(program: Program) -> Gathered:
    """Return a program's state as a checkpoint holds it.

    The optimizer's keys begin with the name of the train_op; averages of parameters are under
    `average/<parameter>`.
    """
    flat: dict[str, object] = {}
    for name, optimizer in program.optimizers.items():
        for key, value in optimizer_state(program.network, optimizer).items():
            flat[f"{name}/{key}"] = value
    if program.averages is not None:
        averages = program.averages.state()
        flat.update({f"{AVERAGE}{name}": tensor for name, tensor in averages.items()})
    state = {"position": program.position, "seed": program.seed, EXTRA: program.extra_state()}
    return Gathered(program.global_step, program.state(), flat, state)


AVERAGE = "average/"
EXTRA = "program"  # beside position and seed: what the program itself wants back


def save(program: Program, model_dir: Path) -> Path:
    """Save a program's parameters, optimizers, averages, step and position, and wait for it.

    Raises:
      NanLossError: a parameter is not finite; nothing is saved, so the last good checkpoint stays.
      CheckpointError, StorageError: it could not be written.
    """
    for name, tensor in program.network.named_parameters():
        if not bool(torch.isfinite(tensor.detach()).all()):
            raise not_finite(name, program.global_step)
    taken = gather(program)
    return checkpoint.save(model_dir, taken.step, taken.model, taken.optimizer, taken.state)


def restore(program: Program, saved: Checkpoint, *, weights_only: bool = False) -> None:
    """Put a checkpoint's state into a built program.

    Args:
      program: built; one that was built for prediction takes the parameters that it has.
      saved: the checkpoint.
      weights_only: leave the optimizers alone: evaluation and prediction need no more, and hold
        then for a definition whose optimizer was changed.

    Raises:
      CheckpointError: names or shapes differ, all of which are listed, or the optimizer does; no
        parameter is changed.
    """
    own = program.state()
    found = saved.model
    if program.built_in != ModeKeys.TRAIN:
        found = {name: tensor for name, tensor in found.items() if name in own}
    difference = checkpoint.compare_names(
        {name: tuple(t.shape) for name, t in own.items()},
        {name: tuple(t.shape) for name, t in found.items()},
    )
    if difference is not None:
        raise CheckpointError(
            f"The checkpoint {saved.path} is of another definition than "
            f"{program.definition.name}:\n{difference}\n{_changed_params(program, saved)}"
            "Use the definition that it was trained with, or another model_dir."
        )
    if program.built_in == ModeKeys.TRAIN and saved.optimizer and not weights_only:
        described = program.statics(ModeKeys.TRAIN).train_ops
        for name, optimizer in program.optimizers.items():
            own_state = {
                key.removeprefix(f"{name}/"): value
                for key, value in saved.optimizer.items()
                if key.startswith(f"{name}/")
            }
            # Settings of a description are the definition's, so that one that was changed holds;
            # a factory of the user's may keep state among its settings.
            custom = isinstance(described[name].optimizer, Custom)
            restore_optimizer(program.network, optimizer, own_state, settings=custom)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(found[name])
    kept = {
        key.removeprefix(AVERAGE): value
        for key, value in saved.optimizer.items()
        if key.startswith(AVERAGE)
    }
    # After the parameters: what the checkpoint has no average of begins from these.
    program.restore_averages(kept, weights_only=weights_only)
    if not weights_only:
        program.restore_extra(saved.state.get(EXTRA) or {})
    program.global_step = saved.step
    program.position = int(saved.state.get("position") or 0)


def _changed_params(program: Program, saved: Checkpoint) -> str:
    """Say which params differ from those of the run that saved a checkpoint, if its record says."""
    records = provenance.read(saved.path.parent.parent)
    if not records:
        return ""
    then = dict(leaves(records[-1].get("params", {})))
    now = dict(leaves(provenance.plain(program.params)))
    absent = "not set"
    changed = [
        f"{name} was {then.get(name, absent)} and is {now.get(name, absent)}"
        for name in dict.fromkeys((*then, *now))
        if then.get(name) != now.get(name) and name.partition(".")[0] not in RUN_KEYS
    ]
    if not changed:
        return ""
    return f"Since that run params have changed: {'; '.join(changed[:10])}. Give the same again.\n"


def step_of(path: Path) -> int:
    """Return the step of a checkpoint's directory, which is its name."""
    return int(path.name)


def not_finite(name: str, step: int) -> NanLossError:
    """Return the error about a parameter that is not finite after a step."""
    return NanLossError(
        f"The parameter '{name}' is not finite after step {step}. Nothing is saved: the "
        "checkpoint before stays as it is. Lower the learning rate, or clip gradients "
        "(optimizers.Adam(..., clip_norm=1.0)).",
        step,
    )

"""Running a recorded run again, from what its record holds, and comparing the ends bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dovetail.errors import CheckpointError, DovetailError
from dovetail.run import checkpoint, fingerprint, hardware, provenance
from dovetail.run.comparing import Comparison, TensorDifference, compared, values_that_differ
from dovetail.run.run_again import check, run_again
from dovetail.run.run_plan import Leg, plan
from dovetail.run.tensor_sums import sums


def reproduce(
    model_dir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    run: int | None = None,
    data: str | os.PathLike[str] | None = None,
    against_checkpoint: bool = False,
    definition: Any = None,
    input_fn: Any = None,
    say: Callable[[str], object] = print,
) -> Comparison:
    """Run a recorded run again in a fresh folder, and compare its parameters with those recorded.

    Args:
      model_dir: of the run.
      output: where it is run again; nothing may be trained there yet. The definition's files are
        copied to its folder `definition`.
      run: the number of the record whose end is come to; None: the last.
      data: where the records are now, if they were moved.
      against_checkpoint: compare with a checkpoint, its optimizer's state too, instead of with
        the sums that were recorded when the run ended.
      definition, input_fn: for a run of a Python script, whose parts only the script can make:
        what `Estimator` and its `train` were given.
      say: is told what differs from the record, and what is done.

    Raises:
      DovetailError: the record does not hold what is needed, a file in it was changed, or the
        data is not what it was; the message says what can be done.
    """
    legs = plan(model_dir, run)
    output = Path(output)
    if checkpoint.latest(output) is not None:
        raise DovetailError(f"{output} holds a trained run already: name another folder.")
    recorded = _recorded_end(model_dir, legs[-1], against_checkpoint)
    for leg in legs:
        check(
            leg,
            Path(model_dir),
            data,
            definition_given=definition is not None,
            input_given=input_fn is not None,
        )
        for line in _other_versions(leg.record["fingerprint"]):
            say(f"note: {line}")
    start = legs[0].record["extra"]["values"].get("runconfig.warm_start_from")
    if start is not None:
        path = start["path"] if isinstance(start, dict) else start
        say(f"note: it begins with the parameters of {path}, as they are now.")
    for leg in legs:
        say(f"Run {leg.number}, steps {leg.begin} to {leg.end}, is run again in {output}.")
        run_again(leg, Path(model_dir), output, data, definition, input_fn)
    comparison = _compare(output, legs[-1].end, recorded)
    if not comparison.equal:
        for line in _differences(output, legs[-1].record):
            say(f"note: {line}")
    return comparison


def compare_with(
    model_dir: str | os.PathLike[str],
    other: str | os.PathLike[str],
    *,
    run: int | None = None,
    against_checkpoint: bool = False,
    say: Callable[[str], object] = print,
) -> Comparison:
    """Compare the end of a recorded run with that of another run, and run nothing.

    Args:
      model_dir: of the recorded run.
      other: the model_dir of the other.
      run, against_checkpoint, say: see `reproduce`.
    """
    leg = plan(model_dir, run)[-1]
    comparison = _compare(Path(other), leg.end, _recorded_end(model_dir, leg, against_checkpoint))
    if not comparison.equal:
        for line in _differences(Path(other), leg.record):
            say(f"note: {line}")
    return comparison


def _recorded_end(
    model_dir: str | os.PathLike[str], leg: Leg, against_checkpoint: bool
) -> dict[str, Any]:
    """Return what there is to compare with: sums, and numbers where a checkpoint has them."""
    ended = leg.record.get("ended", {})
    has_sums = "tensors" in ended and ended["step"] == leg.end
    saved = {int(path.name): path for path in checkpoint.listed(model_dir)}
    path = saved.get(leg.end)
    if path is None and (against_checkpoint or not has_sums):
        raise CheckpointError(
            f"There is no checkpoint of step {leg.end} in {model_dir}, where run {leg.number} "
            + ("ended. " if has_sums else "ended, and no sums were recorded at its end. ")
            + ("Leave out --against-checkpoint. " if has_sums else "Name another --run. ")
            + f"There are: {', '.join(map(str, saved)) or 'none'}."
        )
    loaded = None
    if path is not None:
        try:
            loaded = checkpoint.load(path)
        except CheckpointError:
            if against_checkpoint or not has_sums:
                raise
    model = loaded.model if loaded is not None else {}
    whole = against_checkpoint or not has_sums
    return {
        "tensors": sums(model) if whole else ended["tensors"],
        "numbers": model,
        "optimizer": loaded.optimizer if loaded is not None and whole else None,
    }


def _compare(output: Path, step: int, recorded: Mapping[str, Any]) -> Comparison:
    newest = checkpoint.latest(output)
    if newest is None or int(newest.name) != step:
        paths = {int(path.name): path for path in checkpoint.listed(output)}
        stands = f"at step {int(newest.name)}" if newest is not None else "at no step"
        if step not in paths:
            raise CheckpointError(
                f"{output} is {stands}, without a checkpoint of step {step}, where the recorded "
                "run ended: there is nothing to compare it with."
            )
        newest = paths[step]
    found = checkpoint.load(newest)
    comparison = compared(step, recorded["tensors"], found.model, recorded["numbers"])
    optimizer = recorded["optimizer"]
    if optimizer is None:
        return comparison
    both = [
        {name: t for name, t in state.items() if isinstance(t, torch.Tensor)}
        for state in (optimizer, found.optimizer)
    ]
    more = compared(step, sums(both[0]), both[1], both[0])
    values = values_that_differ(optimizer, found.optimizer)
    return Comparison(
        step,
        comparison.compared + more.compared,
        (
            *comparison.different,
            *more.different,
            *(TensorDifference("optimizer", v) for v in values),
        ),
    )


def _other_versions(recorded: Mapping[str, Any]) -> list[str]:
    now = {"versions": provenance.versions(), "machine": hardware.brief()}
    return fingerprint.compare({name: recorded.get(name, {}) for name in now}, now)


def _differences(output: Path, record: Mapping[str, Any]) -> list[str]:
    """Say how the run that was done differs from the recorded one."""
    records = provenance.read(output)
    now = records[-1].get("fingerprint") if records else None
    return [] if now is None else fingerprint.compare(record["fingerprint"], now)

"""Taking parameters from another run's checkpoint before the first step of a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dovetail.definition.name_filters import fits
from dovetail.errors import CheckpointError, nearest
from dovetail.program.program import Program
from dovetail.run import checkpoint
from dovetail.run.warm_start import WarmStart

_SHOWN = 8
_AVERAGE = "average/"  # as saving.py names them


def apply(
    program: Program,
    warm_start: str | WarmStart,
    note: Callable[[str], None],
    newest: Path | None = None,
) -> None:
    """Put another run's parameters and buffers into a program that is built.

    Args:
      program: built; its averages, if it keeps any, begin again from what it gets.
      warm_start: what to take from where; a path takes all that has the same name.
      note: is told, in one line, what was taken and what was not.
      newest: the checkpoint that the run goes on from, if it has one: then nothing is taken.

    Raises:
      CheckpointError: there is no checkpoint; a pattern or rename means nothing; shapes differ,
        all of which are listed; or nothing at all could be taken. Nothing is changed then.
    """
    wanted = warm_start if isinstance(warm_start, WarmStart) else WarmStart(warm_start)
    if newest is not None:
        note(
            f"The run goes on from its own checkpoint {newest}; warm_start_from={wanted.path} is "
            "for the first start of a run, and is not used."
        )
        return
    found, where = _tensors(wanted, note)
    own = program.state()
    _check_patterns(wanted, own, found)
    taken: dict[str, Tensor] = {}
    missing: list[str] = []
    mismatched: dict[str, str] = {}
    for name, tensor in own.items():
        if not any(fnmatchcase(name, pattern) for pattern in wanted.variables):
            continue
        if any(fits(name_filter, name) for name_filter in wanted.skip):
            continue
        source = wanted.source(name)
        if source not in found:
            missing.append(name)
        elif found[source].shape != tensor.shape:
            there = f" as {source}" if source != name else ""
            mismatched[name] = (
                f"{name} is {list(tensor.shape)} here and {list(found[source].shape)} there{there}"
            )
        else:
            taken[name] = found[source]
    if mismatched and not wanted.skip_mismatched:
        raise CheckpointError(
            f"warm_start_from: {len(mismatched)} of the tensors of {where} have other shapes than "
            f"those of {program.definition.name}: {'; '.join(mismatched.values())}. Leave them "
            "out of variables, or give WarmStart(..., skip_mismatched=True)."
        )
    if not taken:
        raise CheckpointError(
            f"warm_start_from: nothing of {where} has a name of {program.definition.name} and its "
            f"shape. Here there are {_some(own)}; there {_some(found)}. Give WarmStart(..., "
            "renames={name here: name there})."
        )
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)
    if program.averages is not None:
        program.averages.restart()
    left = [name for name in own if name not in {*taken, *missing, *mismatched}]
    note(
        f"Warm start from {where}: {len(taken)} of {len(own)} tensors taken."
        + (f" Not there: {_some(missing)}." if missing else "")
        + (f" Of another shape: {'; '.join(mismatched.values())}." if mismatched else "")
        + (f" Not asked for: {_some(left)}." if left else "")
    )


def _tensors(wanted: WarmStart, note: Callable[[str], None]) -> tuple[Mapping[str, Tensor], str]:
    """Return the tensors that there are by name, and words for where they are from."""
    path = Path(wanted.path)
    if path.suffix == ".safetensors" and path.is_file():
        try:
            return safetensors.torch.load_file(path), str(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"warm_start_from: {path} can't be read: {error}") from error
    if checkpoint.listed(path):
        loaded = checkpoint.latest_good(path, note)
        assert loaded is not None
    elif (path / "state.json").is_file():
        loaded = checkpoint.load(path)
    else:
        raise CheckpointError(
            f"warm_start_from: there is no checkpoint at {path}. Give the directory of one, a "
            "model_dir that has one, or a file that ends in .safetensors."
        )
    averages = {
        key.removeprefix(_AVERAGE): value
        for key, value in loaded.optimizer.items()
        if key.startswith(_AVERAGE) and isinstance(value, Tensor)
    }
    where = f"{loaded.path} (step {loaded.step})"
    if averages and wanted.averages:
        return {**loaded.model, **averages}, f"the averages of {where}"
    return loaded.model, where


def _check_patterns(
    wanted: WarmStart, own: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    """Refuse a pattern that means nothing, which is a name mistyped."""
    for pattern in wanted.variables:
        if not any(fnmatchcase(name, pattern) for name in own):
            raise CheckpointError(
                f"warm_start_from: variables has '{pattern}', which matches nothing here."
                f"{nearest(pattern.replace('*', ''), list(own))} There are {_some(own)}."
            )
    for name_filter in wanted.skip:
        if not any(fits(name_filter, name) for name in own):
            raise CheckpointError(
                f"warm_start_from: skip has '{name_filter}', which fits nothing here."
                f"{nearest(name_filter.replace('*', ''), list(own))} There are {_some(own)}."
            )
    for ours, theirs in wanted.renames.items():
        for side, pattern, names in (("here", ours, own), ("in the checkpoint", theirs, found)):
            if not any(WarmStart.fits(pattern, name) for name in names):
                raise CheckpointError(
                    f"warm_start_from: renames has {ours!r}: {theirs!r}, and there is no "
                    f"'{pattern}' {side}.{nearest(pattern.replace('*', ''), list(names))} There "
                    f"are {_some(names)}."
                )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more

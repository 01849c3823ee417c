"""How a run is done: everything that does not change what the model is."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dovetail.errors import ParamsError, nearest

Precision = Literal["fp32", "bf16"]
Execution = Literal["auto", "eager", "compiled"]

_CHOICES = {"precision": ("fp32", "bf16"), "execution": ("auto", "eager", "compiled")}
_AT_LEAST = {
    "save_summary_steps": 1,
    "save_checkpoints_steps": 1,
    "keep_checkpoint_max": 0,
    "log_step_count_steps": 1,
    "parts": 1,
    "prefetch": 0,
}
ALIASES = {"tf_random_seed": "seed"}


@dataclass(frozen=True, init=False)
class RunConfig:
    """How a run is done. Every field is also a flag of the command line.

    None for any argument leaves the field at its default.

    Args:
      model_dir: where checkpoints, event logs and the record of the run are kept.
      seed: what initial weights, the order of examples and all randomness are derived from; 0.
      save_summary_steps: scalars go to the event log at step 1 and every so many steps; 100.
      save_checkpoints_steps: a checkpoint every so many steps; not with save_checkpoints_secs.
      save_checkpoints_secs: a checkpoint every so many seconds; 600 where neither is given.
      keep_checkpoint_max: how many of the newest checkpoints are kept, 5; 0 keeps all.
      log_step_count_steps: a line of progress every so many steps where there is no bar; 100.
      device: "auto" (the accelerator there is, else the CPU), "cpu", "cuda", ...
      precision: "fp32", or "bf16" for the forward pass under autocast.
      execution: "auto", "eager" or "compiled" (torch.compile).
      parts: into how many parts the global batch is cut; their gradients are summed.
      deterministic: use only deterministic algorithms of torch.
      prefetch: how many batches are made ahead of need; 0 makes each when it is needed.
      progress: show a bar on a terminal, lines elsewhere; True.
      tf_random_seed: another name for seed.

    Attributes:
      given: the names of the fields that were given, as opposed to left at their defaults.

    Raises:
      ParamsError: a value is out of range or of the wrong type.

    Example:
      >>> config = RunConfig(tf_random_seed=1, save_checkpoints_steps=250)
      >>> config.seed, config.save_checkpoints_secs, sorted(config.given)
      (1, None, ['save_checkpoints_steps', 'seed'])
    """

    model_dir: str | None
    seed: int
    save_summary_steps: int
    save_checkpoints_steps: int | None
    save_checkpoints_secs: float | None
    keep_checkpoint_max: int
    log_step_count_steps: int
    device: str
    precision: Precision
    execution: Execution
    parts: int
    deterministic: bool
    prefetch: int
    progress: bool
    given: frozenset[str] = dataclasses.field(compare=False, repr=False)

    def __init__(
        self,
        model_dir: str | None = None,
        *,
        seed: int | None = None,
        save_summary_steps: int | None = None,
        save_checkpoints_steps: int | None = None,
        save_checkpoints_secs: float | None = None,
        keep_checkpoint_max: int | None = None,
        log_step_count_steps: int | None = None,
        device: str | None = None,
        precision: Precision | None = None,
        execution: Execution | None = None,
        parts: int | None = None,
        deterministic: bool | None = None,
        prefetch: int | None = None,
        progress: bool | None = None,
        tf_random_seed: int | None = None,
    ) -> None:
        if seed is not None and tf_random_seed is not None and seed != tf_random_seed:
            raise ParamsError(
                f"RunConfig got seed={seed} and tf_random_seed={tf_random_seed}: they are two "
                "names of one value; give one."
            )
        if save_checkpoints_steps is not None and save_checkpoints_secs is not None:
            raise ParamsError(
                f"RunConfig got save_checkpoints_steps={save_checkpoints_steps} and "
                f"save_checkpoints_secs={save_checkpoints_secs}; give one of them."
            )
        by_default: dict[str, Any] = {
            "model_dir": None,
            "seed": 0,
            "save_summary_steps": 100,
            "save_checkpoints_steps": None,
            "save_checkpoints_secs": 600.0 if save_checkpoints_steps is None else None,
            "keep_checkpoint_max": 5,
            "log_step_count_steps": 100,
            "device": "auto",
            "precision": "fp32",
            "execution": "auto",
            "parts": 1,
            "deterministic": False,
            "prefetch": 2,
            "progress": True,
        }
        passed: dict[str, Any] = {
            "model_dir": None if model_dir is None else str(model_dir),
            "seed": tf_random_seed if seed is None else seed,
            "save_summary_steps": save_summary_steps,
            "save_checkpoints_steps": save_checkpoints_steps,
            "save_checkpoints_secs": save_checkpoints_secs,
            "keep_checkpoint_max": keep_checkpoint_max,
            "log_step_count_steps": log_step_count_steps,
            "device": None if device is None else str(device),
            "precision": precision,
            "execution": execution,
            "parts": parts,
            "deterministic": deterministic,
            "prefetch": prefetch,
            "progress": progress,
        }
        for name, default in by_default.items():
            value = passed[name]
            if value is not None:
                value = _checked(name, value)
            object.__setattr__(self, name, default if value is None else value)
        given = frozenset(name for name, value in passed.items() if value is not None)
        object.__setattr__(self, "given", given)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return {name: getattr(self, name) for name in FIELDS}

    def given_values(self) -> dict[str, Any]:
        """Return the fields that were given, by name."""
        return {name: getattr(self, name) for name in FIELDS if name in self.given}

    @staticmethod
    def from_dict(values: Mapping[str, Any], where: str = "runconfig") -> RunConfig:
        """Make a RunConfig from a section of a params file.

        Raises:
          ParamsError: a key is unknown, or a value is wrong; `where` is named.
        """
        known = (*FIELDS, *ALIASES)
        for key in values:
            if key not in known:
                raise ParamsError(
                    f"{where}.{key} is not a setting of a run.{nearest(key, known)} "
                    f"There are: {', '.join(known)}."
                )
        return RunConfig(**dict(values))

    def replace(self, **changes: Any) -> RunConfig:
        """Return a RunConfig with some fields changed, which then count as given.

        A change of one of save_checkpoints_steps and save_checkpoints_secs drops the other.
        """
        values = self.given_values()
        for one, other in (
            ("save_checkpoints_steps", "save_checkpoints_secs"),
            ("save_checkpoints_secs", "save_checkpoints_steps"),
            ("tf_random_seed", "seed"),
        ):
            if changes.get(one) is not None and other not in changes:
                values.pop(other, None)
        return RunConfig(**{**values, **changes})


FIELDS = tuple(f.name for f in dataclasses.fields(RunConfig) if f.name != "given")
"""The names of all settings of a run, in order."""

_TYPES: dict[str, type] = {
    "model_dir": str,
    "device": str,
    "precision": str,
    "execution": str,
    "deterministic": bool,
    "progress": bool,
    "save_checkpoints_secs": float,
}


def _checked(name: str, value: Any) -> Any:
    """Return the value in its field's type, refusing what is wrong."""
    kind = _TYPES.get(name, int)
    fits = isinstance(value, kind)
    if kind in (int, float) and not isinstance(value, bool):
        # numpy's numbers too
        fits = isinstance(value, numbers.Integral if kind is int else numbers.Real)
    elif isinstance(value, bool):
        fits = kind is bool
    if not fits:
        raise ParamsError(
            f"RunConfig: {name} must be of type {kind.__name__}; it is {value!r}, a "
            f"{type(value).__name__}."
        )
    if kind in (int, float):
        value = kind(value)
    choices = _CHOICES.get(name)
    if choices is not None and value not in choices:
        raise ParamsError(
            f"RunConfig: {name}={value!r}; it must be one of {', '.join(map(repr, choices))}."
            f"{nearest(str(value), choices)}"
        )
    if name in _AT_LEAST and value < _AT_LEAST[name]:
        raise ParamsError(f"RunConfig: {name}={value}; it must be at least {_AT_LEAST[name]}.")
    if name == "seed" and not -(2**63) <= value < 2**64:
        raise ParamsError(f"RunConfig: seed={value}; it must fit into 64 bits.")
    if name == "save_checkpoints_secs" and not (math.isfinite(value) and value > 0):
        raise ParamsError(f"RunConfig: {name}={value}; it must be more than 0 seconds.")
    return value

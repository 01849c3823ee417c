"""How a run is done: everything that does not change what the model is."""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dovetail.errors import ParamsError, a_kind, nearest
from dovetail.run.warm_start import WarmStart

Precision = Literal["fp32", "bf16", "fp16"]
Execution = Literal["auto", "eager", "compiled"]
BestIs = Literal["auto", "higher", "lower"]
UnpositionedInput = Literal["restart", "fast_forward", "refuse"]
FiniteChecks = Literal["loss", "all", "off"]

_CHOICES = {
    "precision": get_args(Precision),
    "execution": get_args(Execution),
    "best_is": get_args(BestIs),
    "unpositioned_input": get_args(UnpositionedInput),
    "finite_checks": get_args(FiniteChecks),
}
_AT_LEAST = {
    "save_summary_steps": 1,
    "save_checkpoints_steps": 1,
    "keep_checkpoint_max": 0,
    "keep_checkpoint_every_steps": 1,
    "keep_checkpoint_best": 0,
    "heartbeat_secs": 0,
    "log_step_count_steps": 1,
    "parts": 1,
    "prefetch": 0,
}
ALIASES = {"tf_random_seed": "seed"}
_DEFAULTS: dict[str, Any] = {  # of what is not None by default
    "seed": 0,
    "save_summary_steps": 100,
    "keep_checkpoint_max": 5,
    "keep_checkpoint_best": 0,
    "best_metric": "loss",
    "best_is": "auto",
    "log_step_count_steps": 100,
    "device": "auto",
    "precision": "fp32",
    "execution": "auto",
    "parts": 1,
    "freeze": (),
    "recompute": (),
    "finite_checks": "loss",
    "deterministic": False,
    "prefetch": 2,
    "unpositioned_input": "restart",
    "heartbeat_secs": 10.0,
    "progress": True,
}


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
      keep_checkpoint_every_steps: every checkpoint whose step is a multiple of it is kept too.
      keep_checkpoint_every_n_hours: one checkpoint in so many hours is kept too.
      keep_checkpoint_best: how many of the best by `best_metric` are kept too; 0.
      best_metric: a metric of the evaluations beside training; "loss".
      best_is: "higher" or "lower"; "auto": lower for a loss, an error or a perplexity.
      log_step_count_steps: a line of progress every so many steps where there is no bar; 100.
      device: "auto" (the accelerator there is, else the CPU), "cpu", "cuda", ...
      precision: "fp32"; "bf16" or "fp16" for the forward pass under autocast, the latter with a
        scaled loss.
      loss_scale: of fp16: the same at every step; None: it adapts.
      execution: "auto", "eager" or "compiled" (torch.compile).
      parts: into how many parts the global batch is cut; their gradients are summed.
      ema_decay: keep averages of the parameters, average = decay average + (1 - decay) parameter,
        which evaluation and prediction use; None keeps none.
      freeze: patterns of names of parameters that are not trained ("encoder.*").
      recompute: patterns of names of modules whose activations are computed anew in the backward
        pass, which takes less memory.
      warm_start_from: a checkpoint or model_dir whose parameters a new run begins with, or a
        `WarmStart` that says which.
      finite_checks: "loss": the loss is watched; "all": every output and gradient at each step,
        which is slow; "off".
      deterministic: use only deterministic algorithms of torch.
      prefetch: how many batches are made ahead of need; 0 makes each when it is needed.
      unpositioned_input: what a resumed run does with an input that can't start at a position:
        "restart" it, "fast_forward" over what was used, or "refuse" to go on.
      heartbeat_secs: how often heartbeat.json in model_dir says that the run is alive; 10; 0 never.
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
    keep_checkpoint_every_steps: int | None
    keep_checkpoint_every_n_hours: float | None
    keep_checkpoint_best: int
    best_metric: str
    best_is: BestIs
    log_step_count_steps: int
    device: str
    precision: Precision
    loss_scale: float | None
    execution: Execution
    parts: int
    ema_decay: float | None
    freeze: tuple[str, ...]
    recompute: tuple[str, ...]
    warm_start_from: str | WarmStart | None
    finite_checks: FiniteChecks
    deterministic: bool
    prefetch: int
    unpositioned_input: UnpositionedInput
    heartbeat_secs: float
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
        keep_checkpoint_every_steps: int | None = None,
        keep_checkpoint_every_n_hours: float | None = None,
        keep_checkpoint_best: int | None = None,
        best_metric: str | None = None,
        best_is: BestIs | None = None,
        log_step_count_steps: int | None = None,
        device: str | None = None,
        precision: Precision | None = None,
        loss_scale: float | None = None,
        execution: Execution | None = None,
        parts: int | None = None,
        ema_decay: float | None = None,
        freeze: str | Iterable[str] | None = None,
        recompute: str | Iterable[str] | None = None,
        warm_start_from: str | WarmStart | None = None,
        finite_checks: FiniteChecks | None = None,
        deterministic: bool | None = None,
        prefetch: int | None = None,
        unpositioned_input: UnpositionedInput | None = None,
        heartbeat_secs: float | None = None,
        progress: bool | None = None,
        tf_random_seed: int | None = None,
    ) -> None:
        passed = {name: value for name, value in locals().items() if name != "self"}
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
        alias = passed.pop("tf_random_seed")
        passed["seed"] = alias if seed is None else seed
        for name in ("model_dir", "device"):
            passed[name] = None if passed[name] is None else str(passed[name])
        for name, value in passed.items():
            by_default = _DEFAULTS.get(name)
            if name == "save_checkpoints_secs" and save_checkpoints_steps is None:
                by_default = 600.0
            object.__setattr__(self, name, by_default if value is None else _checked(name, value))
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
    "loss_scale": float,
    "execution": str,
    "deterministic": bool,
    "progress": bool,
    "save_checkpoints_secs": float,
    "keep_checkpoint_every_n_hours": float,
    "heartbeat_secs": float,
    "best_metric": str,
    "best_is": str,
    "ema_decay": float,
    "unpositioned_input": str,
    "finite_checks": str,
}
_PATTERNS = ("freeze", "recompute")


def _checked(name: str, value: Any) -> Any:
    """Return the value in its field's type, refusing what is wrong."""
    if name in _PATTERNS:
        return _patterns(name, value)
    if name == "warm_start_from":
        return _warm_start(value)
    kind = _TYPES.get(name, int)
    fits = isinstance(value, kind)
    if kind in (int, float) and not isinstance(value, bool):
        # numpy's numbers too
        fits = isinstance(value, numbers.Integral if kind is int else numbers.Real)
    elif isinstance(value, bool):
        fits = kind is bool
    if not fits:
        raise ParamsError(
            f"RunConfig: {name} must be of type {kind.__name__}; it is {value!r}, {a_kind(value)}."
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
    if name in _ABOVE_ZERO and not 0 < value < math.inf:
        raise ParamsError(f"RunConfig: {name}={value}; it must be more than 0{_ABOVE_ZERO[name]}.")
    if kind is float and not math.isfinite(value):
        raise ParamsError(f"RunConfig: {name}={value}; it must be a finite number.")
    if name == "ema_decay" and not 0 < value < 1:
        raise ParamsError(
            f"RunConfig: ema_decay={value}; it must lie between 0 and 1, such as 0.999 for an "
            "average over about 1,000 steps."
        )
    return value


_ABOVE_ZERO = {
    "save_checkpoints_secs": " seconds",
    "keep_checkpoint_every_n_hours": " hours",
    "loss_scale": "",
}


def _patterns(name: str, value: Any) -> tuple[str, ...]:
    """Return patterns as a tuple; text is split at commas."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Iterable) or not all(isinstance(part, str) for part in parts):
        raise ParamsError(
            f"RunConfig: {name} must be patterns of names, such as 'encoder.*' or a list of such; "
            f"it is {value!r}."
        )
    return tuple(part.strip() for part in parts if part.strip())


def _warm_start(value: Any) -> Any:
    """Return a path as text, and a WarmStart as it is."""
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if isinstance(value, WarmStart):
        return value
    raise ParamsError(
        "RunConfig: warm_start_from must be the path of a checkpoint or model_dir, or a "
        f"dovetail.WarmStart; it is {value!r}, {a_kind(value)}."
    )

"""Layered configs of modelers: what every modeler needs, and what a task adds to it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn

from dovetail.definition.modes import ModeKeys
from dovetail.definition.optimizer import Optimizer
from dovetail.definition.optimizers import as_description, get, is_keras
from dovetail.definition.schedules import Schedule
from dovetail.errors import ParamsError, a_kind, nearest

_MODES = tuple(map(str, ModeKeys))
_TUPLES = (
    "piecewise_boundaries",
    "piecewise_learning_rate_decay",
    "skip_l2_loss_vars",
    "trainable_vars",
    "skip_pretrained_vars",
)
# A setting that says more about another one, and means nothing without it.
_NEEDS = {
    "piecewise_boundaries": "piecewise_learning_rate_decay",
    "piecewise_learning_rate_decay": "piecewise_boundaries",
    "skip_l2_loss_vars": "l2_weight_decay",
    "skip_pretrained_vars": "pretrained_model",
}
_ONLY_TRAINING = ("piecewise_boundaries", "trainable_vars", "pretrained_model")


@dataclass(frozen=True)
class ModelerConfig:
    """What every modeler needs; a task's config wraps it.

    Args:
      mode: "train", "eval" or "infer": what model_fn gives when it is called directly. A run
        decides for itself.
      batch_size_per_gpu, gpu_count: their product is the size of the whole batch, in examples.
      optimizer: a name, or one of `dovetail.optimizers` or of Keras', which then has its own
        learning rate.
      learning_rate: a number or a schedule of the global step.
      piecewise_boundaries: in epochs: where the rate changes.
      piecewise_learning_rate_decay: one factor of learning_rate more than there are boundaries.
      num_examples: the training examples in an epoch; None: as many as there are records.
      l2_weight_decay: times `sum(w ** 2) / 2` over all parameters is added to the loss.
      skip_l2_loss_vars: filters of names of parameters that are left out of that.
      trainable_vars: filters of names of the parameters that are updated; None: all.
      pretrained_model: a checkpoint, a model_dir or a file of safetensors that a new run begins
        with.
      skip_pretrained_vars: filters of names of what is not taken from there.

    A filter is a pattern with `*`, or one or several parts of a dotted name: "logits" fits
    "logits.weight".

    Raises:
      ParamsError: a value is wrong, or two of them don't go together.

    Example:
      >>> config = ModelerConfig(mode="train", batch_size_per_gpu=64, gpu_count=1,
      ...                        optimizer="momentum", learning_rate=0.01)
      >>> config.batch_size
      64
    """

    mode: str = "train"
    batch_size_per_gpu: int = 32
    gpu_count: int = 1
    optimizer: str | Optimizer | None = None
    learning_rate: float | Schedule | None = None
    piecewise_boundaries: tuple[float, ...] | None = None
    piecewise_learning_rate_decay: tuple[float, ...] | None = None
    num_examples: int | None = None
    l2_weight_decay: float = 0.0
    skip_l2_loss_vars: tuple[str, ...] = ()
    trainable_vars: tuple[str, ...] | None = None
    pretrained_model: str | None = None
    skip_pretrained_vars: tuple[str, ...] = ()

    @property
    def batch_size(self) -> int:
        """The size of the whole batch: batch_size_per_gpu x gpu_count."""
        return self.batch_size_per_gpu * self.gpu_count

    def __post_init__(self) -> None:
        _check_mode(self.mode)
        for name in ("batch_size_per_gpu", "gpu_count", "num_examples"):
            value = getattr(self, name)
            if value is None and name == "num_examples":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                hint = " For the CPU give RunConfig(device='cpu')." if name == "gpu_count" else ""
                _refuse(f"{name}={value!r}; it must be a whole number of at least 1.{hint}")
        if not _number(self.l2_weight_decay) or self.l2_weight_decay < 0:
            _refuse(f"l2_weight_decay={self.l2_weight_decay!r}; it must be a number from 0 up.")
        for name in _TUPLES:
            _as_tuple(self, name)
        for name, other in _NEEDS.items():
            if getattr(self, name) and not getattr(self, other):
                _refuse(f"{name}={getattr(self, name)!r} says nothing without {other}: give both.")
        self._check_optimizer()
        self._check_piecewise()
        for name in _ONLY_TRAINING if self.mode != ModeKeys.TRAIN else ():
            if getattr(self, name):
                _refuse(
                    f"{name}={getattr(self, name)!r} is for training, and mode is {self.mode!r}. "
                    "Leave it out, or give mode='train': a run decides on its mode itself."
                )

    def _check_optimizer(self) -> None:
        if is_keras(self.optimizer):
            object.__setattr__(self, "optimizer", as_description(self.optimizer))
        optimizer, rate = self.optimizer, self.learning_rate
        if isinstance(optimizer, Optimizer):
            if rate is not None and rate != optimizer.learning_rate:
                _refuse(
                    f"learning_rate={rate!r}, and the optimizer has its own, "
                    f"{optimizer.learning_rate!r}. Give one of them."
                )
        elif isinstance(optimizer, str):
            get(optimizer, learning_rate=0.0)  # refuses an unknown name
            if rate is None:
                _refuse(f"optimizer={optimizer!r} needs a learning_rate.")
        elif optimizer is not None:
            _refuse(
                "optimizer must be a name, or one of dovetail.optimizers or of Keras'; it is "
                f"{optimizer!r}, {a_kind(optimizer)}."
            )
        if rate is not None and not callable(rate) and (not _number(rate) or rate < 0):
            _refuse(f"learning_rate={rate!r}; it must be a number from 0 up, or a schedule.")

    def _check_piecewise(self) -> None:
        boundaries, decays = self.piecewise_boundaries, self.piecewise_learning_rate_decay
        if not boundaries or not decays:
            return
        if not _number(self.learning_rate):
            _refuse(
                "piecewise_learning_rate_decay has factors of learning_rate, which must be a "
                f"number then; it is {self.learning_rate!r}."
            )
        for name, values in (("boundaries", boundaries), ("learning_rate_decay", decays)):
            if not all(_number(value) and value >= 0 for value in values):
                _refuse(f"piecewise_{name}={list(values)}; all must be numbers from 0 up.")
        if list(boundaries) != sorted(set(boundaries)):
            _refuse(f"piecewise_boundaries={list(boundaries)} must rise.")
        if len(decays) != len(boundaries) + 1:
            _refuse(
                f"piecewise_learning_rate_decay={list(decays)} has {len(decays)} factors, and "
                f"{len(boundaries)} boundaries need {len(boundaries) + 1}: one before the first "
                "and one after each."
            )


class TaskConfig:
    """A config that adds a task's fields to the one that it wraps, `modeler_config`.

    A subclass is a frozen dataclass whose first field is `modeler_config`. What it has not itself
    is looked up in the config that it wraps.

    Example:
      >>> @dataclass(frozen=True)
      ... class StyleConfig(TaskConfig):
      ...     modeler_config: ModelerConfig | TaskConfig
      ...     style_weight: float = 1.0
      >>> StyleConfig(ModelerConfig(mode="infer"), style_weight=0.5).mode
      'infer'
    """

    modeler_config: ModelerConfig | TaskConfig

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "modeler_config":
            raise AttributeError(name)  # asked for while a copy is made, before there are fields
        try:
            return getattr(self.modeler_config, name)
        except AttributeError:
            known = sorted({*values_of(self), "mode", "batch_size"})
            raise AttributeError(
                f"{type(self).__name__} has no '{name}'.{nearest(name, known)} It has "
                f"{', '.join(known)}."
            ) from None


def layers_of(config: ModelerConfig | TaskConfig) -> list[ModelerConfig | TaskConfig]:
    """Return a config and those that it wraps, from the outside in."""
    found = [config]
    while isinstance(found[-1], TaskConfig):
        found.append(found[-1].modeler_config)
    if not isinstance(found[-1], ModelerConfig):
        raise ParamsError(
            f"{type(config).__name__} wraps {a_kind(found[-1])}; the innermost config "
            "must be a ModelerConfig."
        )
    return found


def values_of(config: ModelerConfig | TaskConfig) -> dict[str, Any]:
    """Return every value but the mode by name; where two layers have one, the outer one's.

    >>> values_of(ModelerConfig())["batch_size_per_gpu"]
    32
    """
    values: dict[str, Any] = {}
    for layer in reversed(layers_of(config)):
        own = {f.name: getattr(layer, f.name) for f in fields(layer)}  # pyright: ignore[reportArgumentType]
        values |= {k: v for k, v in own.items() if k not in ("mode", "modeler_config")}
    return values


def with_values(config: Any, values: Mapping[str, Any]) -> Any:
    """Return a config with some values replaced, each in the outermost layer that has it.

    Raises:
      ParamsError: no layer has a value of that name, or it is wrong.

    >>> with_values(ModelerConfig(), {"gpu_count": 2}).batch_size
    64
    """
    own = {f.name for f in fields(config)}
    changes = {name: value for name, value in values.items() if name in own}
    rest = {name: value for name, value in values.items() if name not in own}
    if rest:
        if not isinstance(config, TaskConfig):
            name = next(iter(rest))
            raise ParamsError(f"The config has no '{name}'.{nearest(name, own)}")
        changes["modeler_config"] = with_values(config.modeler_config, rest)
    layer: Any = config  # a dataclass, which TaskConfig itself is not
    return dataclasses.replace(layer, **changes) if changes else config


def in_mode(config: Any, mode: str) -> Any:
    """Return a config for a mode that a run has decided on, without what only training uses."""
    _check_mode(mode)
    values: dict[str, Any] = {"mode": mode}
    if mode != ModeKeys.TRAIN:
        values |= dict.fromkeys(_ONLY_TRAINING)
        values |= {"piecewise_learning_rate_decay": None, "skip_pretrained_vars": ()}
    return with_values(config, values)


def _check_mode(mode: object) -> None:
    if mode in _MODES:
        return
    if mode == "tune":
        _refuse("mode='tune': trials are many runs of a definition, not a mode of one.")
    if mode == "export":
        _refuse("mode='export': what is exported is the model of mode='infer'; give that.")
    _refuse(
        f"mode={mode!r}; it must be one of {', '.join(map(repr, _MODES))}."
        f"{nearest(str(mode), _MODES)}"
    )


def _as_tuple(config: ModelerConfig, name: str) -> None:
    value = getattr(config, name)
    if value is None:
        if name.startswith("skip"):
            object.__setattr__(config, name, ())
        return
    numbers = name.startswith("piecewise")
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
        value = [_read_number(name, part) for part in value] if numbers else value
    if not isinstance(value, (list, tuple)) or (
        not numbers and not all(isinstance(item, str) for item in value)
    ):
        what = "numbers" if numbers else "names"
        _refuse(f"{name}={value!r}; it must be a list of {what}, or text with commas.")
    object.__setattr__(config, name, tuple(value))


def _read_number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ParamsError(f"ModelerConfig: {name} has {text!r}, which is no number.") from None


def _number(value: object) -> bool:
    kinds = isinstance(value, (int, float)) and not isinstance(value, bool)
    return kinds and math.isfinite(value)  # pyright: ignore[reportArgumentType] (a number)


def _refuse(message: str) -> NoReturn:
    raise ParamsError(f"ModelerConfig: {message}")

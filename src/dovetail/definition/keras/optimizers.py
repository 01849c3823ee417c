"""Keras' optimizers, translated to descriptions.

Keras itself is never imported here: an object of it exists only where the user's code imported it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from dovetail.definition.keras import schedules
from dovetail.definition.keras.kind import KerasOptimizer
from dovetail.definition.keras.kinds import KINDS
from dovetail.definition.optimizer import Optimizer
from dovetail.definition.optimizer_kinds import SGD, Adadelta
from dovetail.definition.param_groups import ParamGroup
from dovetail.definition.schedules import Schedule
from dovetail.errors import DefinitionError
from dovetail.layers.keras.objects import require_torch_backend

# Keras' class -> ours, where the name is another.
_KIND_OF = {"AdamW": "Adam"}
_NOT_COPIED = {"learning_rate", "weight_decay", "clip_norm", "clip_value", "clip_each", "groups"}
# What can't be translated: the class -> what to write instead.
_INSTEAD = {
    "ScheduleFreeAdamW": "On torch Keras' own update is not the formula that it states. The "
    "nearest is keras.optimizers.AdamW(...) with RunConfig(ema_decay=...), which averages the "
    "parameters.",
    "MultiOptimizer": "Give one optimizer with groups=[ParamGroup('encoder.*', ...)], or in a "
    "model_fn a dict of train_ops, each with minimize(loss, var_list=[...]).",
    "LossScaleOptimizer": "Give its inner optimizer alone, and run with "
    "RunConfig(precision='fp16'), whose loss scale adapts; loss_scale=... keeps it fixed.",
}
_rates: WeakKeyDictionary[Any, tuple[tuple[int, int], float]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Undecayed(ParamGroup):
    """The parameters that `exclude_from_weight_decay(var_names=...)` left out.

    Args:
      words: a regular expression, looked for in the last part of a parameter's dotted name,
        which is what Keras calls a variable's name.

    >>> Undecayed("*", weight_decay=0.0, words="bias|gamma").matches("dense.bias", Tensor())
    True
    """

    words: str = ""

    def matches(self, name: str, parameter: Tensor) -> bool:
        return re.search(self.words, name.rpartition(".")[2]) is not None


@torch.compiler.disable
def describe(given: Any) -> Optimizer:
    """Return the description that gives a Keras optimizer's updates.

    SGD without momentum and Adadelta are the same in torch, and become `SGD` and `Adadelta` where
    no option asks for more; the others become the `Keras...` descriptions of `kinds`.

    Args:
      given: a new Keras optimizer; later changes to it don't count.

    Raises:
      DefinitionError: its class, or an option, can't be translated; says what to write instead.
    """
    name, kind = _kind_of(given)
    _check_options(name, given)
    rate = _learning_rate(name, given)
    clipping = _clipping(given)
    decay = float(given.weight_decay or 0.0)
    own = {f.name: getattr(given, f.name) for f in fields(kind) if f.name not in _NOT_COPIED}
    own = {key: _plain(value) for key, value in own.items()}
    norms = "clip_each" in clipping or "clip_norm" in clipping
    if name == "SGD" and not own["momentum"] and not norms and not decay:
        return SGD(rate, **clipping)
    if name == "Adadelta" and not norms and not decay:
        return Adadelta(rate, rho=own["rho"], eps=own["epsilon"], **clipping)
    if name == "Muon":
        own["adam_weight_decay"] = float(own["adam_weight_decay"] or 0.0)
    decayed = decay or own.get("adam_weight_decay")
    groups = _groups(name, given) if decayed else ()
    return kind(learning_rate=rate, weight_decay=decay, groups=groups, **own, **clipping)


def _kind_of(given: Any) -> tuple[str, type[KerasOptimizer]]:
    """Return the name of a Keras optimizer's class, and the description that goes with it."""
    if isinstance(given, type):
        raise DefinitionError(
            f"The class keras.optimizers.{given.__name__} was given as the optimizer. Call it: "
            f"keras.optimizers.{given.__name__}(learning_rate=...)."
        )
    name = type(given).__name__
    if not type(given).__module__.startswith("keras."):
        bases = [base.__name__ for base in type(given).__mro__ if base.__name__ in KINDS]
        nearest = f"keras.optimizers.{bases[0]}(...), or " if bases else ""
        raise DefinitionError(
            f"{name}, a Keras optimizer of your own, can't be translated: its update is known to "
            f"Keras alone. Give {nearest}a function from parameters to a torch.optim.Optimizer "
            "with your update."
        )
    require_torch_backend(f"keras.optimizers.{name}")
    kind = KINDS.get(_KIND_OF.get(name, name))
    if kind is None:
        instead = _INSTEAD.get(name, f"Those that can be are {', '.join(KINDS)} and AdamW.")
        raise DefinitionError(f"keras.optimizers.{name} can't be translated. {instead}")
    return name, kind


def _check_options(name: str, given: Any) -> None:
    """Refuse what is the run's business, and what only an optimizer that has run can have."""
    where = f"keras.optimizers.{name}"
    if given.use_ema:
        overwritten = (
            " The averages are used for evaluation, prediction and export; the parameters are "
            "never overwritten by them in training, as ema_overwrite_frequency asks."
            if given.ema_overwrite_frequency
            else ""
        )
        raise DefinitionError(
            f"{where}: use_ema=True is a setting of the run here. Leave it out, and give "
            f"RunConfig(ema_decay={given.ema_momentum!r}).{overwritten}"
        )
    if given.gradient_accumulation_steps:
        steps = given.gradient_accumulation_steps
        raise DefinitionError(
            f"{where}: gradient_accumulation_steps={steps!r} is a setting of the run here. Leave "
            f"it out, and give RunConfig(parts={steps!r}) (--parts {steps}) and a batch size "
            f"{steps} times as large: a step cuts its batch into parts and adds their gradients."
        )
    if given.loss_scale_factor is not None:
        scale = given.loss_scale_factor
        raise DefinitionError(
            f"{where}: loss_scale_factor={scale!r} is a setting of the run here. Leave it out, "
            f"and give RunConfig(precision='fp16', loss_scale={scale!r})."
        )
    if given.built:
        raise DefinitionError(
            f"{where}: this optimizer has been built for a model's variables already, and what it "
            "holds of them is not taken over. Make a new one here."
        )


def _learning_rate(name: str, given: Any) -> float | Schedule:
    rate = given._learning_rate
    if hasattr(rate, "assign"):
        return _number(given, rate)
    if any(kind.__name__ == "LearningRateSchedule" for kind in type(rate).__mro__):
        return schedules.as_schedule(rate)
    raise DefinitionError(
        f"keras.optimizers.{name}: learning_rate={rate!r} is a function of nothing, whose rates "
        "can't be told from the step. Give a number, or one of keras.optimizers.schedules (a "
        "LearningRateSchedule of your own has __call__(self, step))."
    )


def _number(given: Any, variable: Any) -> float:
    """Return the rate that a variable holds, read from the device only once if it can be.

    Keras rounds the number that was written to float32; the shortest decimal that rounds to the
    same is what was written.
    """
    tensor = variable.value
    stamp = (tensor.data_ptr(), tensor._version)
    known = _rates.get(given)
    if known is None or known[0] != stamp:
        value = float(tensor.detach())
        known = (stamp, float(str(np.float32(value))) if tensor.dtype == torch.float32 else value)
        _rates[given] = known
    return known[1]


def _clipping(given: Any) -> dict[str, Any]:
    """Return our names and values of a clipping; Keras takes 0 for none."""
    names = {"clipnorm": "clip_each", "global_clipnorm": "clip_norm", "clipvalue": "clip_value"}
    stated = {ours: getattr(given, theirs) for theirs, ours in names.items()}
    return {ours: float(value) for ours, value in stated.items() if value and value > 0}


def _groups(name: str, given: Any) -> tuple[ParamGroup, ...]:
    """Return the group of parameters that weight decay leaves out, if there is one."""
    if getattr(given, "_exclude_from_weight_decay", None):
        raise DefinitionError(
            f"keras.optimizers.{name}: exclude_from_weight_decay(var_list=...) names variables of "
            "one Keras model, which are not the program's. Name them by words of their names: "
            "exclude_from_weight_decay(var_names=['bias', 'gamma'])."
        )
    pattern = getattr(given, "_exclude_from_weight_decay_pattern", None)
    if pattern is None:
        return ()
    words = "|".join(sorted(pattern.pattern.split("|")))  # Keras joins a set, in any order
    return (Undecayed("*", weight_decay=0.0, words=words),)


def _plain(value: Any) -> Any:
    """Return numbers of numpy as Python's."""
    return value.item() if isinstance(value, np.generic) else value

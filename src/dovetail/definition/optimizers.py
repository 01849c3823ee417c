"""Optimizers as frozen values: what to train with, to be made live by the program.

>>> optimizer = AdamW(1e-3, clip_norm=1.0, groups=no_decay())
>>> optimizer == AdamW(1e-3, clip_norm=1.0, groups=no_decay())
True
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, cast

import torch

from dovetail.definition import schedules
from dovetail.definition.clipping import clip_gradients
from dovetail.definition.optimizer import Optimizer, set_learning_rates
from dovetail.definition.optimizer_custom import Custom
from dovetail.definition.optimizer_kinds import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Ftrl,
    Momentum,
    RMSProp,
)
from dovetail.definition.optimizer_section import arguments_of, other_names
from dovetail.definition.param_groups import ParamGroup, layerwise_decay, no_decay
from dovetail.definition.train_op import Gradients, TrainOp
from dovetail.errors import DefinitionError, ParamsError, nearest

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Custom",
    "Ftrl",
    "Gradients",
    "Momentum",
    "Optimizer",
    "ParamGroup",
    "RMSProp",
    "TrainOp",
    "as_description",
    "clip_gradients",
    "from_params",
    "get",
    "layerwise_decay",
    "no_decay",
    "schedules",
    "set_learning_rates",
]

_KINDS = {
    kind.__name__.lower(): kind
    for kind in (Adadelta, Adagrad, Adam, AdamW, Ftrl, Momentum, RMSProp, SGD)
}
# Looked up here, since torch.compile can't trace `fields` of a class.
_ARGUMENTS = {name: [f.name for f in fields(kind)] for name, kind in _KINDS.items()}


def get(name: str, **arguments: Any) -> Optimizer:
    """Return the optimizer of a name, in any case.

    Args:
      name: "sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad", "adadelta" or "ftrl".
      **arguments: the optimizer's own; `learning_rate` may also be what `schedules.get` takes.

    Raises:
      ParamsError: the name or an argument is unknown.

    >>> get("momentum", learning_rate=0.1) == Momentum(0.1)
    True
    """
    kind = _KINDS.get(name.lower())
    if kind is None:
        raise ParamsError(
            f"There is no optimizer '{name}'.{nearest(name.lower(), _KINDS)} "
            f"Known are {', '.join(_KINDS)}; for another use optimizers.Custom(factory)."
        )
    known = _ARGUMENTS[name.lower()]
    for argument in arguments:
        if argument not in known:
            raise ParamsError(
                f"{kind.__name__} has no argument '{argument}'.{nearest(argument, known)} "
                f"Its arguments are {', '.join(known)}."
            )
    rate = arguments.get("learning_rate")
    if isinstance(rate, (Mapping, list, tuple)):
        arguments["learning_rate"] = schedules.get(rate)
    return kind(**arguments)


def from_params(section: Mapping[str, Any]) -> Optimizer:
    """Return the optimizer that the optimizer section of a params file describes.

    Args:
      section: `optimizer_type` (or `type`, `name`), one of those that `get` knows;
        `learning_rate`, a number, a mapping that names a schedule, or a list of such mappings, run
        one after the other; `clip_norm` or `clip_value` (or `max_gradient_norm`,
        `max_gradient_value`); and the optimizer's own arguments, where `beta1` and `beta2` stand
        for `betas`. `gradient_accumulation_steps`, `precision` and `loss_scale` may stand there
        too: a run reads them as settings of its own.

    Raises:
      ParamsError: a key is unknown, or the section names no optimizer.

    >>> section = {"optimizer_type": "adamw", "learning_rate": 0.1, "max_gradient_norm": 1.0}
    >>> from_params(section) == AdamW(0.1, clip_norm=1.0)
    True
    """
    name, arguments = arguments_of(section)
    known = _ARGUMENTS.get(name.lower())
    if known is not None:
        for key in arguments:
            if key not in known or key == "groups":
                names = other_names(known)
                raise ParamsError(
                    f"The optimizer section has no key '{key}' for {name}.{nearest(key, names)} "
                    f"Its keys are {', '.join(names)}."
                )
    return get(name, **arguments)


def as_description(value: object) -> Optimizer:
    """Return the description that a definition's optimizer stands for.

    Args:
      value: a description, a function from parameters to a torch optimizer, or a Keras optimizer,
        which is translated (`keras.optimizers.describe`).

    Raises:
      DefinitionError: it is none of these; a torch optimizer is refused with what to write
        instead, and so is a Keras optimizer that can't be translated.

    >>> as_description(torch.optim.NAdam).minimize(torch.tensor(1.0)).optimizer.learning_rate
    """
    if isinstance(value, Optimizer):
        return value
    if isinstance(value, torch.optim.Optimizer):
        name = type(value).__name__
        alike = _KINDS.get(name.lower())
        instead = f"dovetail.optimizers.{alike.__name__}(...), or " if alike is not None else ""
        raise DefinitionError(
            f"A torch.optim.{name} instance was given as the optimizer. It would be made anew at "
            "every step and lose its state, and it can't be saved by name. Give a description: "
            f"{instead}lambda parameters: torch.optim.{name}(parameters, lr=...)."
        )
    if isinstance(value, type) and issubclass(value, Optimizer):
        raise DefinitionError(
            f"The class {value.__name__} was given as the optimizer. Call it: "
            f"{value.__name__}(learning_rate=...)."
        )
    if is_keras(value):
        from dovetail.definition.keras.optimizers import describe

        # torch's decorator hides its type
        return cast(Callable[[object], Optimizer], describe)(value)
    if callable(value):
        return Custom(cast(Callable[..., torch.optim.Optimizer], value))
    hint = f" Write dovetail.optimizers.get({value!r})." if isinstance(value, str) else ""
    raise DefinitionError(
        "An optimizer must be one of dovetail.optimizers, a function from parameters to a torch "
        f"optimizer or a Keras optimizer, but {value!r} arrived.{hint}"
    )


def note_cure(error: BaseException) -> None:
    """Note on an error that came out of a definition what to write, if it is of an optimizer's use.

    Args:
      error: such as that a Keras or torch optimizer has no `minimize`.

    >>> error = AttributeError("no 'minimize'", name="minimize", obj=torch.optim.Adam)
    >>> note_cure(error)
    >>> error.__notes__[0][:59]
    'Here an optimizer is a description: dovetail.optimizers.Ada'
    """
    if not isinstance(error, AttributeError) or error.name not in _OF_DESCRIPTIONS:
        return
    kind = error.obj if isinstance(error.obj, type) else type(error.obj)
    if is_keras(kind):
        error.add_note(
            "A Keras optimizer is translated first, once, outside of the model_fn: optimizer = "
            f"dovetail.optimizers.as_description(keras.optimizers.{kind.__name__}(...)). Then call "
            f"optimizer.{error.name}(...)."
        )
    elif issubclass(kind, torch.optim.Optimizer):
        alike = _KINDS.get(kind.__name__.lower(), SGD).__name__
        error.add_note(
            f"Here an optimizer is a description: dovetail.optimizers.{alike}(...).{error.name}"
            "(...), which Dovetail steps."
        )


_OF_DESCRIPTIONS = ("minimize", "compute_gradients", "apply_gradients")


def is_keras(value: object) -> bool:
    """Return whether a value is a Keras optimizer, or a class of them; Keras is not imported.

    >>> is_keras("adam")
    False
    """
    base = getattr(sys.modules.get("keras.optimizers"), "Optimizer", None)
    return base is not None and issubclass(value if isinstance(value, type) else type(value), base)

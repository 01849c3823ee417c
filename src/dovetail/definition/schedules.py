"""Learning-rate schedules: frozen values that map the global step to a learning rate.

A step is counted from 0, before its update: the first update of a run uses `schedule(0)`. The
arithmetic is Python's own floats, so a schedule gives the same numbers on every device, and it
costs nothing to import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from dovetail.definition.schedule_curves import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    PiecewiseConstant,
    Polynomial,
    Schedule,
)
from dovetail.definition.schedule_sequences import Sequential, WarmUp, as_schedule
from dovetail.errors import ParamsError, nearest

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "Linear",
    "PiecewiseConstant",
    "Polynomial",
    "Schedule",
    "Sequential",
    "WarmUp",
    "get",
]

_BY_NAME: dict[str, type] = {
    "constant": Constant,
    "exponential": Exponential,
    "piecewise_constant": PiecewiseConstant,
    "polynomial": Polynomial,
    "linear": Linear,
    "cosine": Cosine,
    "warm_up": WarmUp,
}
_BY_PLAIN_NAME = {name.replace("_", ""): kind for name, kind in _BY_NAME.items()}
# argument -> whether it must be given. Looked up here, since torch.compile can't trace `fields`.
_ARGUMENTS = {
    name: {field.name: field.default is MISSING for field in fields(kind)}
    for name, kind in _BY_PLAIN_NAME.items()
}


def get(
    spec: str | float | Schedule | Mapping[str, Any] | Iterable[Mapping[str, Any]], **arguments: Any
) -> Schedule:
    """Return the schedule that a name, a number, or an entry of a params file stands for.

    Args:
      spec: a name ("cosine", "PiecewiseConstant", ...) with the schedule's arguments as keywords;
        a number; a schedule; a mapping with the name under "scheduler" (or "name") and the
        arguments beside it; or a list of such mappings, run one after the other, each but the
        last with its length in "steps". For Polynomial, Linear and Cosine "steps" is also the
        default of `decay_steps`.
      **arguments: the schedule's arguments, where `spec` is a name.

    Raises:
      ParamsError: a name or argument is unknown, missing or out of range.

    >>> get("cosine", initial_learning_rate=0.1, decay_steps=100)
    Cosine(initial_learning_rate=0.1, decay_steps=100, end_learning_rate=0.0)
    >>> get([{"scheduler": "Constant", "learning_rate": 0.1, "steps": 5},
    ...      {"scheduler": "Constant", "learning_rate": 0.2}])(5)
    0.2
    """
    if isinstance(spec, str):
        return _make(spec, dict(arguments))
    if arguments:
        raise ParamsError(
            f"schedules.get: arguments {sorted(arguments)} were given beside {spec!r}. "
            "Give keywords only with a schedule's name."
        )
    if isinstance(spec, Mapping):
        entry = {str(key): value for key, value in spec.items()}
        return _make(_take_name(entry), entry)
    if isinstance(spec, (int, float)) or callable(spec):
        return as_schedule("schedules.get", spec)
    if isinstance(spec, Iterable):
        return _make_sequence(list(spec))
    raise ParamsError(
        f"A learning rate is a number, a mapping that names a schedule, or a list of such "
        f"mappings, but {spec!r} arrived."
    )


def _make_sequence(entries: list[Any]) -> Schedule:
    parts: list[tuple[Schedule, int | None]] = []
    for position, entry in enumerate(entries):
        last = position == len(entries) - 1
        if not isinstance(entry, Mapping):
            raise ParamsError(
                f"Learning-rate schedule {position}: expected a mapping such as "
                f"{{'scheduler': 'Constant', 'learning_rate': 0.1, 'steps': 100}}, "
                f"but {entry!r} arrived."
            )
        if not last and entry.get("steps") is None:
            raise ParamsError(
                f"Learning-rate schedule {position} ({entry.get('scheduler')!r}) has no 'steps'. "
                "Each schedule of a list but the last needs them: how many steps it runs for."
            )
        parts.append((get(entry), None if last else entry["steps"]))
    return Sequential(parts)


def _take_name(entry: dict[str, Any]) -> str:
    for key in ("scheduler", "name"):
        if isinstance(entry.get(key), str):
            return entry.pop(key)
    raise ParamsError(
        f"The learning-rate mapping {entry!r} names no schedule. Add 'scheduler', one of "
        f"{', '.join(kind.__name__ for kind in _BY_NAME.values())}."
    )


def _make(name: str, arguments: dict[str, Any]) -> Schedule:
    plain = name.lower().replace("_", "").replace("-", "")
    kind = _BY_PLAIN_NAME.get(plain)
    if kind is None:
        raise ParamsError(
            f"There is no learning-rate schedule '{name}'."
            f"{nearest(name.lower(), _BY_NAME)} Known are {', '.join(_BY_NAME)}."
        )
    known = _ARGUMENTS[plain]
    # A params file gives a part's length as "steps"; there it is a schedule's own length as well.
    if "steps" in arguments and "steps" not in known:
        steps = arguments.pop("steps")
        if "decay_steps" in known and kind is not Exponential:
            arguments.setdefault("decay_steps", steps)
    for key in arguments:
        if key not in known:
            raise ParamsError(
                f"{kind.__name__} has no argument '{key}'.{nearest(key, known)} "
                f"Its arguments are {', '.join(known)}."
            )
    for key, needed in known.items():
        if needed and key not in arguments:
            raise ParamsError(f"{kind.__name__} needs '{key}'. Give it beside the name.")
    if "schedule" in arguments:
        arguments["schedule"] = get(arguments["schedule"])
    return kind(**arguments)

"""Which value wins: command line, Python call, params file, the definition's own, Dovetail's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dovetail.definition.definition import Definition
from dovetail.definition.hparams import HParams
from dovetail.definition.optimizer_section import run_settings
from dovetail.errors import ParamsError, a_kind
from dovetail.run.config import ALIASES, FIELDS, RunConfig
from dovetail.run.warm_start import WarmStart

DEFAULT_BATCH_SIZE = 32
LENGTHS = ("max_steps", "epochs")
# Names of one value in params. Of those from one source, the first wins.
BATCH_SIZES = ("train_input.batch_size", "batch_size")
EVAL_BATCH_SIZES = ("eval_input.batch_size",)
STEPS = ("max_steps", "steps", "runconfig.max_steps", "runconfig.steps")
NOT_OF_CONFIG = ("max_steps", "steps", "eval_steps")


@dataclass(frozen=True)
class Resolved:
    """Every value of a run, and where it came from.

    Attributes:
      definition: with its final params.
      config: how the run is done.
      batch_size: the global batch size for training, in examples.
      eval_batch_size: for evaluation and prediction.
      max_steps: the step to end at, if that is stated.
      epochs: how often all records come, if that is stated and max_steps is not.
      origins: "params.NAME", "runconfig.NAME", "batch_size", ... -> where the value came from.
    """

    definition: Definition
    config: RunConfig
    batch_size: int
    eval_batch_size: int
    max_steps: int | None
    epochs: float | None
    origins: Mapping[str, str] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """Return every value by the same names as `origins`."""
        values: dict[str, Any] = {
            "batch_size": self.batch_size,
            "eval_batch_size": self.eval_batch_size,
            "max_steps": self.max_steps,
            "epochs": self.epochs,
        }
        values |= {f"runconfig.{name}": v for name, v in self.config.to_dict().items()}
        values |= {f"params.{name}": v for name, v in leaves(self.definition.params)}
        return values


def resolve(
    definition: Definition,
    *,
    params_file: Path | None = None,
    params: Mapping[str, Any] | None = None,
    config: RunConfig | None = None,
    settings: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Resolved:
    """Put all sources of values together.

    Args:
      definition: with its own defaults.
      params_file: YAML or JSON whose values replace them.
      params: of the Python call.
      config: of the Python call.
      settings: "a.b=value" of the command line, which reach params.
      flags: of the command line: fields of RunConfig, batch_size, max_steps, epochs; None is
        "not given".

    Raises:
      ParamsError: a key is unknown or a value is of the wrong type; its source is named.
    """
    merged = definition.params.copy()
    origins = {f"params.{name}": "definition" for name, _ in leaves(merged)}

    def take(values: Mapping[str, Any], origin: str) -> None:
        for key, value in values.items():
            try:
                definition.set_param(merged, key, value)
            except ParamsError as error:
                raise ParamsError(f"{origin}: {error}") from error
            for name, _ in leaves(values, only=key):
                origins[f"params.{name}"] = origin

    if params_file is not None:
        take(HParams.from_file(params_file), f"params file {params_file}")
    if params is not None:
        if not isinstance(params, Mapping):
            raise ParamsError(f"params must be HParams or a dict; it is {a_kind(params)}.")
        take(params, "Python call")
    for text in settings:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ParamsError(f"--set {text}: write it as --set name=value, or a.b=value.")
        definition.set_text(merged, key, value)
        origins[f"params.{key}"] = "command line --set"

    flags = {name: value for name, value in (flags or {}).items() if value is not None}
    # A model file's section of that name holds the arguments of its function.
    described = merged.get("optimizer") if definition.way != "model file" else None
    chosen, config_origins = _config(merged, origins, config, flags, described)
    origins.update(config_origins)
    if definition.way == "modeler":
        chosen = _pretrained(merged, origins, chosen)
    flag = ("command line --batch-size", flags.get("batch_size"))
    batch_size, origins["batch_size"] = _winner(
        flag,
        *_stated(merged, origins, *BATCH_SIZES),
        *(_per_gpu(merged, origins) if definition.way == "modeler" else ()),
        ("default", DEFAULT_BATCH_SIZE),
    )
    for_evaluation = _stated(merged, origins, *EVAL_BATCH_SIZES)
    eval_batch_size, origins["eval_batch_size"] = _winner(
        flag, *(for_evaluation or [(origins["batch_size"], batch_size)])
    )
    for name, value in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ParamsError(
                f"{name} must be a whole number of at least 1; it is {value!r} ({origins[name]})."
            )
    max_steps, epochs = _length(merged, origins, flags)
    return Resolved(
        definition=replace(definition, params=merged),
        config=chosen,
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
        max_steps=max_steps,
        epochs=epochs,
        origins=origins,
    )


def leaves(values: Mapping[str, Any], only: str | None = None) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of everything in nested mappings that is none itself."""
    for key, value in values.items():
        if only is not None and key != only:
            continue
        if isinstance(value, Mapping) and value:
            for name, leaf in leaves(value):
                yield f"{key}.{name}", leaf
        else:
            yield key, value


def _config(
    params: HParams,
    origins: Mapping[str, str],
    config: RunConfig | None,
    flags: Mapping[str, Any],
    described: Any,
) -> tuple[RunConfig, dict[str, str]]:
    section = params.get("runconfig")
    if section is not None and not isinstance(section, Mapping):
        raise ParamsError(
            f"params.runconfig must hold settings of a run by name; it is {section!r}."
        )
    if config is not None and not isinstance(config, RunConfig):
        raise ParamsError(f"config must be a RunConfig; it is {a_kind(config)}.")
    stated: list[tuple[str, str, Any]] = []  # (origin, name, value)
    for key, value in (section or {}).items():
        if key not in NOT_OF_CONFIG and value is not None:
            origin = _origin(origins, f"runconfig.{key}")
            try:
                RunConfig.from_dict({key: value}, "params.runconfig")
            except ParamsError as error:
                raise ParamsError(f"{origin}: {error}") from error
            stated.append((origin, key, value))
    if isinstance(described, Mapping):
        stated += _of_optimizer(described, origins, stated)
    if config is not None:
        stated += [("Python call", name, value) for name, value in config.given_values().items()]
    stated += [
        (f"command line --{name.replace('_', '-')}", name, value)
        for name, value in flags.items()
        if name in FIELDS
    ]
    # From the weakest source to the strongest: each value replaces what was there before it.
    chosen = RunConfig()
    where = dict.fromkeys((f"runconfig.{name}" for name in FIELDS), "default")
    for rank in sorted({_rank(origin) for origin, _, _ in stated}, reverse=True):
        chosen = chosen.replace(**{n: v for origin, n, v in stated if _rank(origin) == rank})
        for origin, name, _ in stated:
            if _rank(origin) == rank:
                where[f"runconfig.{ALIASES.get(name, name)}"] = origin
    return chosen, {
        name: origin if name.removeprefix("runconfig.") in chosen.given else "default"
        for name, origin in where.items()
    }


def _of_optimizer(
    section: Mapping[str, Any], origins: Mapping[str, str], stated: Sequence[tuple[str, str, Any]]
) -> list[tuple[str, str, Any]]:
    """Return the settings of a run that stand in the optimizer section."""
    found = []
    for name, (key, value) in run_settings(section).items():
        origin = _origin(origins, f"optimizer.{key}")
        try:
            RunConfig.from_dict({name: value}, f"params.optimizer.{key}")
        except ParamsError as error:
            raise ParamsError(f"{origin}: 'optimizer.{key}': {error}") from error
        for other_origin, other, other_value in stated:
            if other == name and other_origin == origin and other_value != value:
                raise ParamsError(
                    f"{origin}: runconfig.{name} is {other_value!r} and optimizer.{key} is "
                    f"{value!r}: they are two names of one setting. Keep one of them."
                )
        found.append((origin, name, value))
    return found


def _length(
    params: HParams, origins: dict[str, str], flags: Mapping[str, Any]
) -> tuple[int | None, float | None]:
    """Return (max_steps, epochs), at most one of which is stated."""
    if "max_steps" in flags and "epochs" in flags:
        raise ParamsError("Give --max-steps or --epochs, not both.")
    for name in LENGTHS:
        if name in flags:
            origins[name] = f"command line --{name.replace('_', '-')}"
            return _length_of(name, flags[name], name, origins[name])
    stated = [
        (origin, (key, value))
        for key in (*STEPS, "train_epochs")
        for origin, value in _stated(params, origins, key)
    ]
    (key, value), origin = _winner(*stated, ("default", (None, None)))
    if key is None:
        return None, None
    name = "epochs" if key == "train_epochs" else "max_steps"
    origins[name] = origin
    return _length_of(name, value, f"params.{key}", origin)


def _length_of(name: str, value: Any, key: str, origin: str) -> tuple[int | None, float | None]:
    whole = name == "max_steps"
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
        what = "a whole number" if whole else "a number"
        raise ParamsError(f"{key} must be {what} above 0; it is {value!r} ({origin}).")
    return (int(value), None) if whole else (None, value)


def _at(params: Mapping[str, Any], dotted: str) -> Any:
    value: Any = params
    for key in dotted.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _per_gpu(params: HParams, origins: Mapping[str, str]) -> list[tuple[str, Any]]:
    """Return (origin, value) of what a modeler's config says of the batch."""
    names = ("batch_size_per_gpu", "gpu_count")
    each, count = (params[name] for name in names)
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (each, count))
    return [(min((_origin(origins, n) for n in names), key=_rank), each * count)] if whole else []


def _pretrained(params: HParams, origins: dict[str, str], config: RunConfig) -> RunConfig:
    """Return the config with what a modeler's says a new run begins with, if that is stronger."""
    path, skip = params.get("pretrained_model"), params.get("skip_pretrained_vars")
    origin, key = _origin(origins, "pretrained_model"), "runconfig.warm_start_from"
    if not path or ("warm_start_from" in config.given and _rank(origins[key]) <= _rank(origin)):
        return config
    origins[key] = origin
    if isinstance(skip, str):
        skip = [part.strip() for part in skip.split(",") if part.strip()]
    return config.replace(warm_start_from=WarmStart(path, skip=tuple(skip)) if skip else path)


def _origin(origins: Mapping[str, str], dotted: str) -> str:
    return origins.get(f"params.{dotted}", "definition")


def _stated(
    params: Mapping[str, Any], origins: Mapping[str, str], *names: str
) -> list[tuple[str, Any]]:
    """Return (origin, value) of those of some params that have a value."""
    found = [(_origin(origins, name), _at(params, name)) for name in names]
    return [(origin, value) for origin, value in found if value is not None]


_STRENGTH = ("command line", "Python call", "params file", "definition", "default")


def _rank(origin: str) -> int:
    """Return how strong a source is; 0 is the strongest."""
    return next(i for i, source in enumerate(_STRENGTH) if origin.startswith(source))


def _winner(*choices: tuple[str, Any]) -> tuple[Any, str]:
    """Return the value of the strongest source, the first of several, and the source."""
    stated = [choice for choice in choices if choice[1] is not None]
    origin, value = min(stated, key=lambda choice: _rank(choice[0]))
    return value, origin

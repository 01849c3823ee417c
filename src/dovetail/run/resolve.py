"""Which value wins: command line, Python call, params file, the definition's own, Dovetail's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dovetail.definition.definition import Definition
from dovetail.definition.hparams import HParams
from dovetail.errors import ParamsError
from dovetail.run.config import ALIASES, FIELDS, RunConfig

DEFAULT_BATCH_SIZE = 32
LENGTHS = ("max_steps", "epochs")


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
            raise ParamsError(f"params must be HParams or a dict; it is a {type(params).__name__}.")
        take(params, "Python call")
    for text in settings:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ParamsError(f"--set {text}: write it as --set name=value, or a.b=value.")
        definition.set_text(merged, key, value)
        origins[f"params.{key}"] = "command line --set"

    flags = {name: value for name, value in (flags or {}).items() if value is not None}
    chosen, config_origins = _config(merged, origins, config, flags)
    origins.update(config_origins)
    batch_size, origins["batch_size"] = _first(
        ("command line --batch-size", flags.get("batch_size")),
        (_origin(origins, "train_input.batch_size"), _at(merged, "train_input.batch_size")),
        (_origin(origins, "batch_size"), _at(merged, "batch_size")),
        ("default", DEFAULT_BATCH_SIZE),
    )
    eval_batch_size, origins["eval_batch_size"] = _first(
        ("command line --batch-size", flags.get("batch_size")),
        (_origin(origins, "eval_input.batch_size"), _at(merged, "eval_input.batch_size")),
        (origins["batch_size"], batch_size),
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
    params: HParams, origins: Mapping[str, str], config: RunConfig | None, flags: Mapping[str, Any]
) -> tuple[RunConfig, dict[str, str]]:
    where = dict.fromkeys((f"runconfig.{name}" for name in FIELDS), "default")
    chosen = RunConfig()
    section = params.get("runconfig")
    if section is not None:
        if not isinstance(section, Mapping):
            raise ParamsError(
                f"params.runconfig must hold settings of a run by name; it is {section!r}."
            )
        values = {k: v for k, v in section.items() if k not in ("max_steps", "steps", "eval_steps")}
        chosen = RunConfig.from_dict(values, "params.runconfig")
        for name in values:
            origin = origins.get(f"params.runconfig.{name}", "definition")
            where[f"runconfig.{ALIASES.get(name, name)}"] = origin
    if config is not None:
        if not isinstance(config, RunConfig):
            raise ParamsError(f"config must be a RunConfig; it is a {type(config).__name__}.")
        chosen = chosen.replace(**config.given_values())
        where |= {f"runconfig.{name}": "Python call" for name in config.given}
    given = {name: value for name, value in flags.items() if name in FIELDS}
    chosen = chosen.replace(**given)
    where |= {f"runconfig.{n}": f"command line --{n.replace('_', '-')}" for n in given}
    return chosen, where


def _length(
    params: HParams, origins: dict[str, str], flags: Mapping[str, Any]
) -> tuple[int | None, float | None]:
    """Return (max_steps, epochs), at most one of which is stated."""
    if "max_steps" in flags and "epochs" in flags:
        raise ParamsError("Give --max-steps or --epochs, not both.")
    for name in LENGTHS:
        if name in flags:
            origins[name] = f"command line --{name.replace('_', '-')}"
            value = _positive(name, flags[name], origins[name])
            return (value, None) if name == "max_steps" else (None, value)
    for key in ("max_steps", "steps", "runconfig.max_steps", "runconfig.steps"):
        value = _at(params, key)
        if value is not None:
            origins["max_steps"] = _origin(origins, key)
            return _positive(key, value, origins["max_steps"]), None
    value = _at(params, "train_epochs")
    if value is not None:
        origins["epochs"] = _origin(origins, "train_epochs")
        return None, _positive("train_epochs", value, origins["epochs"])
    return None, None


def _positive(name: str, value: Any, origin: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ParamsError(f"{name} must be a number above 0; it is {value!r} ({origin}).")
    return value


def _at(params: Mapping[str, Any], dotted: str) -> Any:
    value: Any = params
    for key in dotted.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _origin(origins: Mapping[str, str], dotted: str) -> str:
    return origins.get(f"params.{dotted}", "definition")


def _first(*choices: tuple[str, Any]) -> tuple[Any, str]:
    for origin, value in choices:
        if value is not None:
            return value, origin
    raise AssertionError("the last choice is a default")

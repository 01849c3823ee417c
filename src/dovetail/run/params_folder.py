"""A params file, a model.py and a data.py as one definition, its inputs, and all its values.

my_model/
  model.py              model_fn(features, labels, mode, params)
  data.py               train_input_fn(params), eval_input_fn(params), predict_input_fn(params)
  configs/params.yaml   train_input, eval_input, predict_input, model, optimizer, runconfig
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from dovetail.definition import optimizers
from dovetail.definition.definition import RUN_KEYS, Definition, load
from dovetail.definition.hparam_lines import KeyPath, Lines, dotted
from dovetail.definition.hparams import HParams
from dovetail.definition.modes import ModeKeys
from dovetail.definition.optimizer_section import run_settings
from dovetail.definition.source import execute, outline
from dovetail.definition.typed_sections import TYPED, class_names, fitted, section_class
from dovetail.errors import DefinitionError, DovetailError, ParamsError, nearest
from dovetail.run.config import RunConfig
from dovetail.run.resolve import NOT_OF_CONFIG, Resolved, resolve
from dovetail.run.set_keys import OF_RUNCONFIG, check_new_key, check_run_settings, no_setting

SECTIONS = (*TYPED, "runconfig")
_INPUT_FNS: dict[str, tuple[str, ...]] = {
    ModeKeys.TRAIN: ("train_input_fn", "input_fn"),
    ModeKeys.EVAL: ("eval_input_fn", "input_fn"),
    ModeKeys.PREDICT: ("predict_input_fn", "eval_input_fn", "input_fn"),
}


@dataclass(frozen=True)
class Places:
    """Where the three files are."""

    params: Path
    model: Path
    data: Path


@dataclass(frozen=True)
class ParamsFolder:
    """What the three files say, lowered to what every run takes.

    Attributes:
      places: of the files.
      resolved: the definition with all of the params file, and how it is run.
      eval_steps: how many batches an evaluation has, if `runconfig.eval_steps` says so.
      data: data.py, executed.
    """

    places: Places
    resolved: Resolved
    eval_steps: int | None
    data: ModuleType

    def input_fn(self, mode: str) -> Callable[..., Any]:
        """Return data.py's function for a mode, as `Estimator` takes it.

        PREDICT takes eval_input_fn where there is no predict_input_fn: labels are left out.

        Raises:
          DefinitionError: data.py has none.
        """
        names = _INPUT_FNS[mode]
        for name in names:
            function = getattr(self.data, name, None)
            if function is not None:
                if not callable(function):
                    raise DefinitionError(f"{self.places.data}: {name} must be a function.")
                return function
        there = [name for name, value in vars(self.data).items() if inspect.isfunction(value)]
        raise DefinitionError(
            f"{self.places.data} has no {names[0]}(params), which mode '{mode}' needs."
            f"{nearest(names[0], there)} Let it return an iterable of (features, labels), or a "
            "path to records."
        )


def find(
    params: str | Path, model: str | Path | None = None, data: str | Path | None = None
) -> Places:
    """Find model.py and data.py: in the folder that holds the params file's folder, or in that.

    Args:
      params: the params file.
      model, data: where one of the two is named.

    Raises:
      DovetailError: one is not there.
    """
    file = Path(params)
    folders = list(dict.fromkeys([_above(file), file.parent]))

    def found(named: str | Path | None, name: str) -> Path:
        tried = [Path(named)] if named is not None else [folder / name for folder in folders]
        for path in tried:
            if path.is_file():
                return path
        where = " or ".join(map(str, tried))
        raise DovetailError(
            f"There is no {where}. Put {name} into the folder that holds "
            f"{file.parent.name or '.'}/, or name it with --{Path(name).stem} FILE."
        )

    if not file.is_file():
        raise ParamsError(f"There is no params file {file}.")
    return Places(file, found(model, "model.py"), found(data, "data.py"))


def read(
    places: Places,
    *,
    settings: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> ParamsFolder:
    """Read the files and put all values together: command line, params file, defaults.

    Args:
      places: of the files.
      settings: "a.b=value" of the command line.
      flags: of the command line; None is "not given".

    Raises:
      ParamsError: a key is unknown or a value is of the wrong type; with its line in the file.
      DefinitionError: model.py or data.py is wrong.
    """
    definition = load(places.model)
    if definition.way != "model_fn":
        raise DefinitionError(
            f"{places.model} has no model_fn(features, labels, mode, params), which a params "
            f"file's model.py needs; it is a {definition.way}. Run it with `dovetail train`."
        )
    stated = HParams.from_file(places.params)
    lines = Lines(places.params)
    _check_sections(stated, definition, lines)
    definition = replace(definition, beside=(places.data,))
    set_keys = [text.partition("=")[0].strip() for text in settings]
    check_run_settings(set_keys)
    resolved = resolve(definition, params_file=places.params, settings=settings, flags=flags)
    known = _known(definition)
    for key in resolved.definition.params:
        if key not in known:  # of the file's own sections all are known by now
            raise ParamsError(
                f"command line --set: there is no section '{key}'.{nearest(key, known)} A params "
                f"file has {', '.join(SECTIONS)}."
            )
    data = execute(places.data)
    resolved = _with_types(resolved, places, data, lines, stated, set_keys)
    eval_steps = (resolved.definition.params.get("runconfig") or {}).get("eval_steps")
    if eval_steps is not None and (not isinstance(eval_steps, int) or eval_steps < 1):
        raise ParamsError(
            f"{lines.of(('runconfig', 'eval_steps'))}: 'runconfig.eval_steps' must be a whole "
            f"number above 0; it is {eval_steps!r}."
        )
    return ParamsFolder(places, resolved, eval_steps, data)


def _above(file: Path) -> Path:
    """Return the folder above a file's, written as the file's is."""
    return file.parent.parent if file.parent.name not in ("", "..") else Path("..") / file.parent


def _known(definition: Definition) -> list[str]:
    return [*SECTIONS, *definition.params, *(key for key in RUN_KEYS if key not in SECTIONS)]


def _check_sections(stated: HParams, definition: Definition, lines: Lines) -> None:
    """Refuse unknown sections and settings of a run, with their lines."""
    problems: list[str] = []
    known = _known(definition)
    for key, value in stated.items():
        if key not in known:
            problems.append(
                f"{lines.of((key,))}: there is no section '{key}'.{nearest(key, known)} A params "
                f"file has {', '.join(SECTIONS)}; what is the model's own belongs in 'model'."
            )
        elif key in SECTIONS and value is not None and not isinstance(value, Mapping):
            problems.append(
                f"{lines.of((key,))}: '{key}' must hold names with values; it is {value!r}."
            )
    section = stated.get("runconfig")
    for key, value in section.items() if isinstance(section, Mapping) else ():
        place = lines.of(("runconfig", key))
        if key not in OF_RUNCONFIG:
            problems.append(f"{place}: {no_setting(key)}")
        elif key not in NOT_OF_CONFIG and value is not None:
            try:
                RunConfig.from_dict({key: value})
            except ParamsError as error:
                problems.append(f"{place}: 'runconfig.{key}': {error}")
    _raise(problems)


def _with_types(
    resolved: Resolved,
    places: Places,
    data: ModuleType,
    lines: Lines,
    stated: Mapping[str, Any],
    set_keys: Sequence[str],
) -> Resolved:
    """Check the sections by their classes, and the optimizer's by what optimizers there are."""
    params = resolved.definition.params.copy()
    origins = dict(resolved.origins)
    wanted = {name for section in TYPED for name in class_names(section)}
    in_model = wanted & set(outline(places.model).lines)
    spaces = [execute(places.model)] if in_model else []

    def place(key: KeyPath) -> str:
        origin = origins.get(f"params.{dotted(key)}", "params file")
        return lines.of(key) if origin.startswith(("params file", "definition")) else origin

    problems: list[str] = []
    for section in TYPED:
        kind = section_class(section, [*spaces, data])
        values = params.get(section)
        if kind is None:
            if section == "optimizer" and isinstance(values, Mapping):
                problems += _optimizer_problems(values, lines)
            else:
                for key in set_keys:
                    if key.startswith(f"{section}."):
                        check_new_key(key, stated)
            continue
        if values is None:
            values = HParams()
        full, found = fitted(section, values, kind, place)
        problems += found
        if not found:
            for key in full:
                origins.setdefault(f"params.{section}.{key}", "definition")
            params = HParams(**{**dict(params), section: full})
    _raise(problems)
    return replace(
        resolved, definition=replace(resolved.definition, params=params), origins=origins
    )


def _optimizer_problems(section: Mapping[str, Any], lines: Lines) -> list[str]:
    try:
        optimizers.from_params(section)
        run_settings(section)
    except (ParamsError, DefinitionError) as error:
        return [f"{lines.named('optimizer', str(error))}: {error}"]
    return []


def _raise(problems: Sequence[str]) -> None:
    if problems:
        count = f"{len(problems)} problems in the params:\n  " if len(problems) > 1 else ""
        raise ParamsError(count + "\n  ".join(problems))

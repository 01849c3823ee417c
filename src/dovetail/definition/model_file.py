"""A Python file as a definition: with `model_fn`, `modeler`, or the parts of a model file.

A model file has `model`, `loss` and `optimizer`, and may have `loss_weight`, `eval_metrics_fn`,
`data_schema`, `input_fn`, `prepare_data_for_a_single_file` or `custom_data_reader`, `preprocess`,
`process` and `callbacks`.
Its parts are lowered to a model_fn here; defaults of its functions' own parameters
(`optimizer(lr=0.1)`) become params (`optimizer.lr`).
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from dovetail.data.schema import Schema
from dovetail.definition import file_loss, file_metrics, modeler_lowering, optimizers
from dovetail.definition.custom_reader import CustomReader
from dovetail.definition.definition import Definition, ModelFn, called_by_name, matched_model_fn
from dovetail.definition.hparams import HParams
from dovetail.definition.model_lowering import PARTS, lower, settings
from dovetail.definition.modeler import Modeler
from dovetail.definition.signature import Matched
from dovetail.definition.source import Outline, execute, outline
from dovetail.errors import DefinitionError, a_kind
from dovetail.layers.keras.settings import OwnSettings

_REQUIRED = ("model", "loss", "optimizer")


_NAMES = (*PARTS, "model_fn", "modeler", "params", "config")


def from_file(path: Path) -> Definition:
    """Load a definition from a Python file. See `dovetail.load`."""
    shape = outline(path)
    with OwnSettings().held():
        module = execute(path)
    return _read(module, path, shape, lambda: execute(path))


def from_module(module: ModuleType) -> Definition:
    """Load a definition from an imported module; it is executed afresh where it has a file."""
    file = getattr(module, "__file__", None)
    if file is not None and Path(file).is_file():
        return from_file(Path(file))
    return _read(module, None, Outline({}, {}, frozenset()), lambda: module)


def _read(
    module: ModuleType, path: Path | None, shape: Outline, execute_again: Callable[[], ModuleType]
) -> Definition:
    file = str(path) if path is not None else module.__name__
    problems: list[str] = []

    def problem(name: str, text: str) -> None:
        line = shape.lines.get(name)
        problems.append(f"{file}{f':{line}' if line else ''}: {text}")

    has = {name: getattr(module, name) for name in _NAMES if hasattr(module, name)}
    for name in ("model", "modeler"):
        if inspect.ismodule(has.get(name)):
            del has[name]  # `import model` in a script
    is_model_fn, is_modeler = "model_fn" in has, "modeler" in has
    complete = is_model_fn or is_modeler  # there is no model, loss and optimizer beside it
    for name, lines in shape.doubled.items():
        if name in _NAMES:
            problem(name, f"{name} is defined more than once (lines {', '.join(map(str, lines))}).")
    ways = [name for name in ("model_fn", "modeler") if name in has]
    if all(name in has for name in _REQUIRED):
        ways.append("model, loss and optimizer")
    if len(ways) > 1:
        problem(
            ways[0],
            f"the file has {' and also '.join(ways)}: that is {_COUNTS[len(ways)]} definitions. "
            "Keep one of them.",
        )
    modeler: Any = has.get("modeler")
    if is_modeler and not isinstance(modeler, Modeler):
        problem(
            "modeler",
            f"modeler is {a_kind(modeler)}; it must be a dovetail.Modeler, such as a "
            "task's build(config, net) returns.",
        )
        modeler = None
    if "prepare_data_for_a_single_file" in has and "custom_data_reader" in has:
        problem(
            "custom_data_reader",
            "the file has prepare_data_for_a_single_file and also custom_data_reader: both say how "
            "files are read. Keep one of them.",
        )
    _find_missing(complete, has, module, shape, problem)
    matched: dict[str, Matched] = {}
    for name, part in PARTS.items():
        if name not in has or (complete and name in (*_REQUIRED, "loss_weight")):
            continue
        if name == "model" and isinstance(has[name], nn.Module):
            continue
        if name == "data_schema" and isinstance(has[name], (list, Schema)):
            has[name] = partial(_as_it_stands, has[name])
        if name in _HINTS and not callable(has[name]) and name != "loss":
            problem(name, f"{name} is {a_kind(has[name])}. {_hint(name, has[name])}")
            continue
        try:
            if name == "loss":
                matched |= file_loss.matched(has[name])
                continue
            if name == "eval_metrics_fn":
                matched[name] = file_metrics.matched(has[name])
                continue
            if name == "loss_weight" and file_loss.matched_weight(has[name]) is None:
                continue
            matched[name] = Matched(
                has[name],
                part.offered,
                required=part.required,
                positional=part.positional,
                what=name,
            )
        except DefinitionError as error:
            problem(name, str(error))
    if is_model_fn:
        try:
            matched_model_fn(has["model_fn"])
        except DefinitionError as error:
            problem("model_fn", str(error))
    of_modeler = modeler_lowering.settable(modeler) if modeler is not None else {}
    params, declared = _params(has, matched, problem, of_modeler)
    schema = _schema(matched, params, problem)
    if problems:
        count = f"{len(problems)} problems in the definition:\n  " if len(problems) > 1 else ""
        raise DefinitionError(count + "\n  ".join(problems))

    if is_model_fn:

        def fresh(params: HParams) -> ModelFn:
            return called_by_name(matched_model_fn(execute_again().model_fn))

        reads_params = True
    elif is_modeler:

        def fresh(params: HParams) -> ModelFn:
            return modeler_lowering.lowered(execute_again().modeler, params)

        reads_params = False  # but for what is declared: the config's values
    else:
        pristine = module.model

        def fresh(params: HParams) -> ModelFn:
            return lower(execute_again(), params, pristine)

        reads_params = any("params" in (*m.offered[: m.count], *m.names) for m in matched.values())
    prepare = matched.get("prepare_data_for_a_single_file")
    reader = matched.get("custom_data_reader")
    return Definition(
        name=path.stem if path is not None else module.__name__,
        way="model_fn" if is_model_fn else "modeler" if is_modeler else "model file",
        params=params,
        fresh=fresh,
        schema=schema,
        input_fn=matched.get("input_fn"),
        prepare_data_for_a_single_file=prepare.function if prepare is not None else None,
        custom_data_reader=CustomReader(reader) if reader is not None else None,
        preprocess=matched.get("preprocess"),
        process=matched.get("process"),
        callbacks=matched.get("callbacks"),
        path=path,
        declares_params=declared or not reads_params,
    )


_COUNTS = {2: "two", 3: "three"}


def _find_missing(
    complete: bool,
    has: Mapping[str, Any],
    module: ModuleType,
    shape: Outline,
    problem: Callable[[str, str], None],
) -> None:
    own = [
        name
        for name in (shape.lines or vars(module))
        if name not in _NAMES and callable(getattr(module, name, None))
    ]

    def like(name: str, cutoff: float) -> str | None:
        """Return the file's own name that is taken for `name` misspelt, if no part is nearer."""
        near = difflib.get_close_matches(name, own, n=1, cutoff=cutoff)
        if not near:
            return None
        # 'modle' is nearer to modeler than to model, by the letters that they share.
        names = [n for n in _NAMES if n != "modeler" or near[0].startswith("model")]
        if difflib.get_close_matches(near[0], names, n=1, cutoff=0.0) != [name]:
            return None
        return near[0]

    required = () if complete else _REQUIRED
    if required and not any(name in has or like(name, 0.6) for name in required):
        near = [
            *difflib.get_close_matches("model_fn", own, n=1, cutoff=0.75),
            *difflib.get_close_matches("modeler", own, n=1, cutoff=0.85),
        ]
        hint = f" '{near[0]}' (line {shape.lines.get(near[0])}) looks like it." if near else ""
        problem(
            "",
            "the file defines no model. It needs model_fn(features, labels, mode, params), or "
            f"model, loss and optimizer, or modeler.{hint}",
        )
        return
    for name in PARTS:
        if name in has or (complete and name in _REQUIRED):
            continue
        near = like(name, 0.6 if name in required else 0.85)
        if near is not None and (name in required or not near.startswith(name)):
            line = shape.lines.get(near)
            what = "is missing" if name in required else "is not defined"
            problem(near, f"{name} {what}; '{near}' (line {line}) looks like it, misspelt.")
        elif near is None and name in required:
            problem("", f"{name} is missing. {_HINTS[name]}")


def _as_it_stands(value: Any) -> Any:
    return value


def _hint(name: str, given: Any) -> str:
    if name == "optimizer" and (
        optimizers.is_keras(given) or isinstance(given, optimizers.Optimizer)
    ):
        home = "keras" if optimizers.is_keras(given) else "dovetail"
        made = f"{home}.optimizers.{type(given).__name__}(...)"
        return f"Write a function that returns it: def optimizer(): return {made}."
    return _HINTS[name]


_HINTS = {
    "model": "Define `model`: a torch or Keras model, or a class or function that makes one.",
    "loss": "Define `loss(output, labels)`: it returns a scalar tensor.",
    "optimizer": "Define `optimizer()`: it returns dovetail.optimizers.SGD(0.1), say.",
}


def _params(
    has: Mapping[str, Any],
    matched: Mapping[str, Matched],
    problem: Callable[[str, str], None],
    of_modeler: Mapping[str, Any],
) -> tuple[HParams, bool]:
    """Put together `params`, a modeler's config, and defaults of functions' own parameters."""
    given = has.get("params")
    if given is not None and not isinstance(given, Mapping):
        problem("params", f"params must be HParams or a dict; it is {a_kind(given)}.")
        given = None
    params = given.copy() if isinstance(given, HParams) else HParams(**dict(given or {}))
    for name, value in of_modeler.items():
        if name in params:
            problem("params", f"params has '{name}', and so has the modeler's config. Rename one.")
        else:
            params.add_hparam(name, value)
    for name, match in matched.items():
        if not match.defaults:
            continue
        if name in params:
            problem(
                "params",
                f"params has a key '{name}', and the function {name} has parameters with defaults "
                f"({', '.join(match.defaults)}) that are set under the same key. Rename one.",
            )
            continue
        params.add_hparam(name, HParams(**match.defaults))
    return params, given is not None


def _schema(
    matched: Mapping[str, Matched], params: HParams, problem: Callable[[str, str], None]
) -> Schema | None:
    match = matched.get("data_schema")
    if match is None:
        return None
    try:
        fields = match({}, settings(params, "data_schema"))
        return fields if isinstance(fields, Schema) else Schema.from_list(fields)
    except Exception as error:
        problem("data_schema", f"data_schema: {type(error).__name__}: {error}")
        return None

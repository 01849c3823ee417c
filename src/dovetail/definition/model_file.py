"""A Python file as a definition: with `model_fn`, `modeler`, or the parts of a model file.

A model file has `model`, `loss` and `optimizer`, and may have `eval_metrics_fn`, `data_schema`,
`input_fn`, `prepare_data_for_a_single_file` or `custom_data_reader`, `preprocess` and `process`.
Its parts are lowered to a model_fn here; defaults of its functions' own parameters
(`optimizer(lr=0.1)`) become params (`optimizer.lr`).
"""

from __future__ import annotations

import copy
import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.data.schema import Schema
from dovetail.definition import modeler_lowering, optimizers
from dovetail.definition.custom_reader import CustomReader
from dovetail.definition.definition import Definition, ModelFn, called_by_name, matched_model_fn
from dovetail.definition.hparams import HParams
from dovetail.definition.modeler import Modeler
from dovetail.definition.modes import ModeKeys
from dovetail.definition.signature import Matched, where
from dovetail.definition.source import Outline, execute, outline
from dovetail.definition.spec import EstimatorSpec
from dovetail.errors import DefinitionError
from dovetail.layers.layer import layer
from dovetail.layers.store import current_frame

_REQUIRED = ("model", "loss", "optimizer")


@dataclass(frozen=True)
class _Part:
    """How one part of a file is called: the arguments on offer, and how many go by position."""

    offered: tuple[str, ...]
    positional: int = 0


_PARTS = {
    "model": _Part(("params",)),
    "loss": _Part(("output", "labels", "params", "mode"), 2),
    "optimizer": _Part(("params",)),
    "eval_metrics_fn": _Part(("predictions", "labels", "params", "mode"), 2),
    "data_schema": _Part(()),
    "input_fn": _Part(("records", "params", "mode", "config"), 1),
    "prepare_data_for_a_single_file": _Part(("filename",), 1),
    "custom_data_reader": _Part(()),
    "preprocess": _Part(("features", "params", "mode"), 1),
    "process": _Part(("predictions", "worker_id"), 2),
}
_NAMES = (*_PARTS, "model_fn", "modeler", "params", "config")


def from_file(path: Path) -> Definition:
    """Load a definition from a Python file. See `dovetail.load`."""
    shape = outline(path)
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
            f"modeler is a {type(modeler).__name__}; it must be a dovetail.Modeler, such as a "
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
    for name, part in _PARTS.items():
        if name not in has or (complete and name in _REQUIRED):
            continue
        if name == "model" and isinstance(has[name], nn.Module):
            continue
        try:
            matched[name] = Matched(
                has[name],
                part.offered,
                required=part.offered[: part.positional],
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
            return _lower(execute_again(), params, pristine)

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
    for name in _PARTS:
        if name in has or (complete and name in _REQUIRED):
            continue
        near = like(name, 0.6 if name in required else 0.85)
        if near is not None and (name in required or not near.startswith(name)):
            line = shape.lines.get(near)
            what = "is missing" if name in required else "is not defined"
            problem(near, f"{name} {what}; '{near}' (line {line}) looks like it, misspelt.")
        elif near is None and name in required:
            problem("", f"{name} is missing. {_HINTS[name]}")


_HINTS = {
    "model": "Define `model`: a torch module, or a class or function that makes one.",
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
        problem("params", f"params must be HParams or a dict; it is a {type(given).__name__}.")
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
        fields = match({}, _settings(params, "data_schema"))
        return fields if isinstance(fields, Schema) else Schema.from_list(fields)
    except Exception as error:
        problem("data_schema", f"data_schema: {type(error).__name__}: {error}")
        return None


def _settings(params: HParams, name: str) -> Mapping[str, Any] | None:
    value = params.get(name)
    return dict(value) if isinstance(value, HParams) else None


def _lower(module: ModuleType, params: HParams, pristine: Any) -> ModelFn:
    """Make the model_fn of a freshly executed model file.

    `pristine` is the `model` of the file's first execution, which no program has used. A file that
    imports its model gives the same object again at every execution: then it is copied.
    """
    network = _make_model(module, params)
    if network is pristine:
        network = copy.deepcopy(network)
    call = _FeaturesCall(network)

    def matched(name: str) -> Matched | None:
        function = getattr(module, name, None)
        part = _PARTS[name]
        if function is None:
            return None
        return Matched(function, part.offered, positional=part.positional, what=name)

    loss_fn, optimizer_fn, metrics_fn = map(matched, ("loss", "optimizer", "eval_metrics_fn"))
    assert loss_fn is not None
    assert optimizer_fn is not None
    settings = {name: _settings(params, name) for name in ("loss", "eval_metrics_fn")}
    described = optimizer_fn({"params": params}, _settings(params, "optimizer"))
    try:
        optimizer = optimizers.as_description(described)
    except DefinitionError as error:
        raise DefinitionError(f"{where(optimizer_fn.function)}: {error}") from None

    def model_fn(features: Any, labels: Any, mode: Any, params: Any, config: Any) -> EstimatorSpec:
        output = call(layer(network, name="model"), features)
        predictions = _as_predictions(output)
        if mode == ModeKeys.PREDICT:
            return EstimatorSpec(mode, predictions=predictions)
        offered = {"labels": labels, "params": params, "mode": mode}
        loss = loss_fn({"output": output, **offered}, settings["loss"])
        ops = None
        # In training metrics are shown at summary steps only, so they are computed only there.
        if metrics_fn is not None and (mode == ModeKeys.EVAL or _summary_step()):
            ops = metrics_fn({"predictions": output, **offered}, settings["eval_metrics_fn"])
        train_op = optimizer.minimize(loss) if mode == ModeKeys.TRAIN else None
        return EstimatorSpec(mode, predictions, loss, train_op, ops)

    return model_fn


def _summary_step() -> bool:
    return getattr(current_frame().owner, "summary_step", True)


def _make_model(module: ModuleType, params: HParams) -> nn.Module:
    model = module.model
    if isinstance(model, nn.Module):
        return model
    made = Matched(model, _PARTS["model"].offered, what="model")(
        {"params": params}, _settings(params, "model")
    )
    if not isinstance(made, nn.Module):
        raise DefinitionError(
            f"model: {where(model)} returned a {type(made).__name__}; it must return a torch "
            "module."
        )
    return made


def _as_predictions(output: Any) -> dict[str, Tensor]:
    if isinstance(output, Tensor):
        return {"output": output}
    if isinstance(output, Mapping):
        return dict(output)
    if isinstance(output, (list, tuple)):
        return {f"output_{i}": item for i, item in enumerate(output)}
    raise DefinitionError(
        f"model returned a {type(output).__name__}; it must return a tensor, a dict of tensors, or "
        "a tuple of tensors."
    )


class _FeaturesCall:
    """Passes features to a module by matching names.

    A dict of one entry goes as its tensor where the module takes one argument; a module that takes
    one dict (several features and one argument, or one that is annotated so) gets the dict.
    """

    def __init__(self, module: nn.Module) -> None:
        parameters = list(inspect.signature(module.forward).parameters.values())
        kinds = inspect.Parameter
        named = [p for p in parameters if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
        self.names = tuple(p.name for p in named)
        self.needed = frozenset(p.name for p in named if p.default is kinds.empty)
        self.any_name = any(p.kind is kinds.VAR_KEYWORD for p in parameters)
        self.by_name = bool(named) or (self.any_name and len(parameters) == 1)
        self.whole = bool(named) and _IS_DICT.search(str(named[0].annotation)) is not None

    def __call__(self, module: nn.Module, features: Any) -> Any:
        if not isinstance(features, dict) or self.whole:
            return module(features)
        fit = self.any_name or all(name in self.names for name in features)
        if self.by_name and fit and all(name in features for name in self.needed):
            return module(**features)
        if len(self.needed) > 1 and not torch.compiler.is_compiling():
            raise DefinitionError(
                f"{type(module).__name__}.forward takes {', '.join(self.names)}, and the features "
                f"are {', '.join(features)}. Name its arguments as input_fn names the features, or "
                "let it take one dict."
            )
        if len(features) == 1:
            return module(next(iter(features.values())))
        return module(features)


_IS_DICT = re.compile(r"\b(dict|Dict|Mapping)\b")

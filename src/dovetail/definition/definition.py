"""A definition: what the model is, frozen, with nothing built and no device touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dovetail.data.schema import Schema
from dovetail.definition.custom_reader import CustomReader
from dovetail.definition.hparams import HParams
from dovetail.definition.signature import Matched, where
from dovetail.definition.spec import EstimatorSpec
from dovetail.errors import DefinitionError, ParamsError, a_kind, nearest

if TYPE_CHECKING:
    from dovetail.definition.modeler import Modeler

RUN_KEYS = (
    "batch_size",
    "train_epochs",
    "max_steps",
    "steps",
    "runconfig",
    "train_input",
    "eval_input",
    "predict_input",
)
"""Keys of params that say how a run is done; every definition accepts them."""

ModelFn = Callable[..., EstimatorSpec]
"""`(features, labels, mode, params, config) -> EstimatorSpec`, with all five given by name."""


@dataclass(frozen=True)
class Definition:
    """One model, in whichever way it was written, lowered to the one contract.

    Attributes:
      name: the file's stem, or the function's name.
      way: "model_fn", "model file" or "modeler".
      params: the definition's own hyperparameters with their values.
      fresh: makes the model_fn of one program: `fresh(params) -> ModelFn`. A file is executed
        again for each program, so that its global objects start anew and are shared with nobody;
        the caller seeds the generators before.
      schema: the fields of a record, if the definition has a `data_schema`.
      input_fn: maps a batch of records to (features, labels), if the definition has one.
      prepare_data_for_a_single_file: maps a file's name to rows of the schema, if there is one.
      custom_data_reader: makes the file's own reader of data files, if there is one; given params,
        with their values for it.
      preprocess: tensor code applied to features in every mode.
      process: is given predictions by `dovetail predict`.
      callbacks: makes the hooks that every training of the definition has.
      path: the file, if it came from one.
      beside: other files that belong to it, such as the data.py of a params file's folder.
      declares_params: whether `params` holds every key that may be set.
    """

    name: str
    way: str
    params: HParams
    fresh: Callable[[HParams], ModelFn]
    schema: Schema | None = None
    input_fn: Matched | None = None
    prepare_data_for_a_single_file: Callable[[str], Any] | None = None
    custom_data_reader: CustomReader | None = None
    preprocess: Matched | None = None
    process: Matched | None = None
    callbacks: Matched | None = None
    path: Path | None = None
    beside: tuple[Path, ...] = ()
    declares_params: bool = False

    def with_params(self, values: Mapping[str, Any] | None) -> Definition:
        """Return this definition with some params replaced.

        Raises:
          ParamsError: a key is unknown, or a value has another type than the definition's own.
        """
        if not values:
            return self
        params = self.params.copy()
        for key, value in values.items():
            self.set_param(params, key, value)
        return replace(self, params=params)

    def set_param(self, params: HParams, key: str, value: Any) -> None:
        """Set one top-level key of `params`, a copy of this definition's own."""
        if key in params:
            if isinstance(params[key], HParams) and isinstance(value, Mapping):
                self._set_nested(params[key], value, key)
            else:
                params.set_hparam(key, value)
        elif self.declares_params and key not in RUN_KEYS:
            raise ParamsError(
                f"'{key}' is not a parameter of {self.name}.{nearest(key, [*params, *RUN_KEYS])} "
                f"It has: {', '.join(params) or 'none'}."
            )
        else:
            params.add_hparam(key, value)

    def _set_nested(self, params: HParams, values: Mapping[str, Any], path: str) -> None:
        for key, value in values.items():
            if key in params and isinstance(params[key], HParams) and isinstance(value, Mapping):
                self._set_nested(params[key], value, f"{path}.{key}")
            elif key in params:
                params.set_hparam(key, value)
            elif self.declares_params and path not in RUN_KEYS:
                raise ParamsError(
                    f"'{path}.{key}' is not a parameter of {self.name}.{nearest(key, params)} "
                    f"'{path}' has: {', '.join(params) or 'none'}."
                )
            else:
                params.add_hparam(key, value)

    def set_text(self, params: HParams, dotted: str, text: str) -> None:
        """Set one value of `params`, a copy of this definition's own, from the command line's text.

        A value that exists keeps its type; a new one is read as YAML.
        """
        head = dotted.partition(".")[0]
        settable = head in params or self._may_add(head)
        if head == "model" and self.way == "model file" and not settable:
            raise ParamsError(
                f"There is no hyperparameter '{dotted}': model has no settings. Let it be the "
                "class (model = Net) or a function (def model(width=32)), with parameters that "
                "have defaults."
            )
        section, last = params, dotted
        while "." in last:
            head, _, rest = last.partition(".")
            if head not in section and (section is not params or self._may_add(head)):
                section.add_hparam(head, HParams())
            if head not in section or not isinstance(section[head], HParams):
                break
            section, last = section[head], rest
        if last in section or "." in last or not self._may_add(dotted.partition(".")[0]):
            params.override(dotted, text)
        else:
            section.add_hparam(last, HParams.from_yaml(f"value: {text}").value)

    def _may_add(self, key: str) -> bool:
        return key in RUN_KEYS or not self.declares_params

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the definition is written in: its own, and local modules it imports."""
        from dovetail.definition.source import local_files

        own = local_files(self.path) if self.path is not None else ()
        more = (file for path in self.beside for file in local_files(path))
        return tuple(dict.fromkeys([*own, *more]))


def load(
    source: str | Path | ModuleType | Callable[..., Any] | Modeler | Definition,
    params: Mapping[str, Any] | None = None,
) -> Definition:
    """Read a definition from a file, a module, a function, a modeler, or another definition.

    Args:
      source: the path of a Python file with `model_fn`, or with `model`, `loss`, `optimizer` and
        the other parts of a model file, or with `modeler`; a module with the same; a `model_fn`;
        a `Modeler`; a `Definition`.
      params: values that replace the definition's own.

    Returns:
      A frozen `Definition`.

    Raises:
      DefinitionError: the file is absent, does not parse or raises, or parts of the definition are
        missing, doubled, misspelt or of a wrong signature; all problems at once, with their lines.
      ParamsError: a key of params is unknown, or a value has the wrong type.

    Example:
      >>> import torch
      >>> import dovetail
      >>> def model_fn(features, labels, mode, params):
      ...     output = dovetail.layers.fully_connected(features["x"], 1, activation_fn=None)
      ...     loss = torch.mean((output - labels) ** 2) if labels is not None else None
      ...     train_op = dovetail.optimizers.SGD(params.learning_rate).minimize(loss)
      ...     return dovetail.EstimatorSpec(mode, {"output": output}, loss, train_op)
      >>> dovetail.load(model_fn, params={"learning_rate": 0.1}).params.learning_rate
      0.1
    """
    from dovetail.definition import model_file
    from dovetail.definition.modeler import Modeler
    from dovetail.definition.modeler_lowering import from_modeler

    if isinstance(source, Definition):
        definition = source
    elif isinstance(source, (str, Path)):
        definition = model_file.from_file(Path(source))
    elif isinstance(source, ModuleType):
        definition = model_file.from_module(source)
    elif isinstance(source, Modeler):
        definition = from_modeler(source)
    elif callable(source) and not isinstance(source, type):
        definition = _from_function(source)
    else:
        raise DefinitionError(
            "A definition is the path of a Python file, a module, a model_fn, a Modeler, or a "
            f"Definition; this is {a_kind(source)}{'' if source is None else f': {source!r}'}."
        )
    return definition.with_params(params)


MODEL_FN_ARGUMENTS = ("features", "labels", "mode", "params", "config")


def matched_model_fn(function: Callable[..., Any]) -> Matched:
    """Match model_fn's arguments by name; `features` is the one that it must take."""
    matched = Matched(function, MODEL_FN_ARGUMENTS, required=("features",), what="model_fn")
    if matched.defaults:
        names = ", ".join(matched.defaults)
        raise DefinitionError(
            f"model_fn: {where(function)} has parameters of its own ({names}). It may take "
            f"{', '.join(MODEL_FN_ARGUMENTS)}; everything else belongs in params."
        )
    return matched


def called_by_name(matched: Matched) -> ModelFn:
    """Give a matched model_fn the one calling form: all five arguments by name."""

    def model_fn(features: Any, labels: Any, mode: Any, params: Any, config: Any) -> EstimatorSpec:
        return matched(
            {
                "features": features,
                "labels": labels,
                "mode": mode,
                "params": params,
                "config": config,
            }
        )

    return model_fn


def _from_function(function: Callable[..., Any]) -> Definition:
    call = called_by_name(matched_model_fn(function))
    code = getattr(function, "__code__", None)
    path = Path(code.co_filename) if code is not None else None
    return Definition(
        name=getattr(function, "__name__", type(function).__name__),
        way="model_fn",
        params=HParams(),
        fresh=lambda params: call,
        path=path if path is not None and path.is_file() else None,
    )

"""Sections of params that a class in the user's file types: keys and values checked before a run.

`ModelParams` types the section `model`, `OptimizerParams` the section `optimizer`,
`TrainInputParams`, `EvalInputParams` and `PredictInputParams` the inputs (`InputParams` those of
the three that have no class of their own). Each is a dataclass or a pydantic model.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dovetail.definition.hparam_lines import KeyPath, at, dotted
from dovetail.definition.hparam_values import own, plain
from dovetail.errors import DefinitionError, nearest

INPUTS = ("train_input", "eval_input", "predict_input")
TYPED = (*INPUTS, "model", "optimizer")


def class_names(section: str) -> tuple[str, ...]:
    """Return the names of the classes that may type a section, the first that exists wins.

    >>> class_names("model"), class_names("train_input")
    (('ModelParams',), ('TrainInputParams', 'InputParams'))
    """
    name = "".join(word.capitalize() for word in section.split("_")) + "Params"
    return (name, "InputParams") if section in INPUTS else (name,)


def section_class(section: str, spaces: Iterable[Any]) -> type | None:
    """Return the class that types a section, or None.

    Args:
      section: of the params.
      spaces: modules in which it may be.

    Raises:
      DefinitionError: it is neither a dataclass nor a pydantic model.
    """
    for name in class_names(section):
        for space in spaces:
            found = getattr(space, name, None)
            if found is None:
                continue
            if not isinstance(found, type) or _fields(found) is None:
                raise DefinitionError(
                    f"{getattr(space, '__file__', space)}: {name} types the section '{section}', "
                    "so it must be a dataclass or a pydantic model. Add @dataclass, or give it "
                    "another name."
                )
            return found
    return None


def fitted(
    section: str, values: Mapping[str, Any], kind: type, place: Callable[[KeyPath], str]
) -> tuple[dict[str, Any], list[str]]:
    """Check a section by its class, and fill in the defaults of that.

    Args:
      section: its name.
      values: what is stated.
      kind: a dataclass or a pydantic model. A number is no text and a text no number: nothing is
        converted but whole numbers to floats.
      place: says where a key was stated.

    Returns:
      values: with the class's defaults.
      problems: one message for each; the values are not to be used if there are any.

    Example:
      >>> @dataclasses.dataclass
      ... class ModelParams:
      ...     width: int = 32
      ...     rate: float = 0.1
      >>> fitted("model", {"rate": 1}, ModelParams, dotted)
      ({'width': 32, 'rate': 1.0}, [])
      >>> fitted("model", {"witdh": 1}, ModelParams, dotted)[1]
      ["model.witdh: ModelParams has no 'witdh'. Did you mean 'width'? It has: width, rate."]
    """
    import pydantic

    stated = own(values)
    problems = [
        f"{place(path)}: {of.__name__} has no '{path[-1]}'.{nearest(str(path[-1]), known)} It "
        f"has: {', '.join(known) or 'nothing'}."
        for path, of, known in _unknown((section,), stated, kind)
    ]
    adapter: Any = pydantic.TypeAdapter(kind)
    try:
        # As JSON a list may stand for a tuple; strict, a text stands for no number.
        checked = adapter.validate_json(json.dumps(plain(stated)), strict=True)
    except pydantic.ValidationError as error:
        for found in error.errors(include_url=False):
            path = (section, *found["loc"])
            if found["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
                continue  # said above, with the nearest
            problems.append(f"{place(path)}: {_explained(path, found, kind, stated)}")
        return {}, problems
    return adapter.dump_python(checked), problems


def _explained(path: KeyPath, found: Any, kind: type, values: Mapping[str, Any]) -> str:
    key = dotted(path)
    if found["type"] in ("missing", "missing_argument"):
        return f"'{key}' is missing: {kind.__name__} has no default for it. Add it."
    arrived = at(values, path[1:])
    says = found["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"'{key}' {says}, but {arrived!r} ({type(arrived).__name__}) arrived."


def _unknown(
    path: KeyPath, values: Mapping[str, Any], kind: type
) -> Iterator[tuple[KeyPath, type, list[str]]]:
    """Yield (key, class, the keys that it has) of what no field stands for, at any depth."""
    fields = _fields(kind)
    assert fields is not None
    for key, value in values.items():
        if key not in fields:
            yield (*path, key), kind, list(fields)
            continue
        for inner in _classes(fields[key]):
            if isinstance(value, Mapping):
                yield from _unknown((*path, key), value, inner)
            elif isinstance(value, list):
                for index, item in enumerate(value):
                    if isinstance(item, Mapping):
                        yield from _unknown((*path, key, index), item, inner)


def _fields(kind: type) -> dict[str, Any] | None:
    """Return name -> type of a class's fields; None if it is no dataclass or pydantic model."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {f.name: hints[f.name] for f in dataclasses.fields(kind) if f.init}
    import pydantic

    if not issubclass(kind, pydantic.BaseModel):
        return None
    return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}


def _classes(annotation: Any) -> list[type]:
    """Return the one class with fields in an annotation: itself, or None; or a list of it.

    A union of several says by its values which it is: those are left to pydantic.
    """
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if _fields(annotation) is not None else []
    inner = [found for part in typing.get_args(annotation) for found in _classes(part)]
    return inner if len(inner) == 1 else []

"""Showing a model file: its parts, parameters, schema, and the layers that it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dovetail.cli.show import plural, say, shape, size, table
from dovetail.definition.definition import Definition, load
from dovetail.definition.source import outline
from dovetail.program.building import build
from dovetail.program.program import Program
from dovetail.run.provenance import plain
from dovetail.run.resolve import leaves

_PARTS = (
    "model_fn",
    "modeler",
    "model",
    "loss",
    "optimizer",
    "eval_metrics_fn",
    "data_schema",
    "input_fn",
    "prepare_data_for_a_single_file",
    "custom_data_reader",
    "preprocess",
    "process",
    "callbacks",
    "params",
)


def describe(path: Path) -> dict[str, Any]:
    """Return what a model file holds, as plain values.

    Its layers are made from a batch of zeros as the schema has them; where that does not work,
    `layers` is None and `not_built` says why.

    Raises:
      DefinitionError: the definition is wrong.
    """
    definition = load(path)
    lines = outline(path).lines
    parts = sorted((name for name in _PARTS if name in lines), key=lambda name: lines[name])
    described: dict[str, Any] = {
        "name": definition.name,
        "way": definition.way,
        "parts": [{"name": name, "line": lines[name]} for name in parts],
        "params": plain(definition.params.to_dict()),
        "schema": definition.schema.to_list() if definition.schema is not None else None,
        "files": [str(file) for file in definition.files],
        "layers": None,
        "parameters": None,
        "not_built": None,
    }
    try:
        program = build(definition, example=_example(definition), device="cpu")
    except Exception as error:  # whatever the user's code raises, the rest is worth showing
        described["not_built"] = str(error) or type(error).__name__
        return described
    described["layers"] = _layers(program)
    described["parameters"] = sum(p.numel() for p in program.network.parameters())
    return described


def show(path: Path, described: dict[str, Any]) -> None:
    """Print what `describe` returned."""
    say(f"{path}: {described['way']} '{described['name']}'")
    say()
    table(("part", "line"), [(p["name"], p["line"]) for p in described["parts"]], right=["line"])
    if described["params"]:
        say()
        table(("param", "value"), list(leaves(described["params"])))
    if described["schema"] is not None:
        say()
        rows = [(f["name"], f["dtype"], shape(f["shape"])) for f in described["schema"]]
        table(("field", "dtype", "shape"), rows)
    say()
    if described["layers"] is None:
        say(f"Its layers could not be made: {described['not_built']}")
        return
    rows = [
        (entry["name"], entry["type"], _tensors(entry["parameters"]), f"{entry['count']:,}")
        for entry in described["layers"]
    ]
    table(("layer", "type", "parameters", "count"), rows, right=["count"])
    count = described["parameters"]
    say(f" {plural(count, 'parameter')}, {size(4 * count)} in float32")


def _example(definition: Definition) -> Any:
    """Return a batch of zeros as the definition's own input_fn makes it of records."""
    from dovetail.data.rows import Rows
    from dovetail.definition.modes import ModeKeys
    from dovetail.errors import DefinitionError
    from dovetail.run.config import RunConfig
    from dovetail.run.inputs import split_pair

    if definition.schema is None:
        raise DefinitionError("there is no data_schema() that says what its input looks like.")
    if definition.input_fn is None:
        return definition.schema
    offered = {
        "records": Rows(definition.schema.example(2)),
        "params": definition.params.copy(),
        "mode": ModeKeys.TRAIN,
        "config": RunConfig(),
    }
    settings = definition.params.get("input_fn")
    return split_pair(definition.input_fn(offered, settings), "input_fn", labelled=True)


def _layers(program: Program) -> list[dict[str, Any]]:
    """Return every module that holds parameters itself, or has no module inside."""
    layers = []
    for name, module in program.network.named_modules():
        own = {key: list(p.shape) for key, p in module.named_parameters(recurse=False)}
        if not name or (not own and any(True for _ in module.children())):
            continue
        count = sum(p.numel() for p in module.parameters(recurse=False))
        layers.append(
            {"name": name, "type": type(module).__name__, "parameters": own, "count": count}
        )
    return layers


def _tensors(shapes: dict[str, list[int]]) -> str:
    return ", ".join(f"{name} {shape(sizes)}" for name, sizes in shapes.items())

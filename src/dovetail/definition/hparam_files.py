"""Hyperparameters as text: YAML and JSON, read strictly.

Beyond PyYAML's rules, a key given twice is an error, `1e-3` is a number as in YAML 1.2, and a
date is text.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from dovetail.errors import ParamsError


def parse_yaml(text: str, source: str = "The YAML text") -> Any:
    """Return the value of a YAML text.

    Args:
      text: YAML.
      source: what to call the text in a message.

    Raises:
      ParamsError: it does not parse, or a mapping holds a key twice.

    >>> parse_yaml("lr: 1e-3")
    {'lr': 0.001}
    """
    import yaml

    try:
        return yaml.load(text, _loader_and_dumper()[0])
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or error
        raise ParamsError(f"{source}{where}: not valid YAML: {problem}. Correct it.") from error


def dump_yaml(value: Any) -> str:
    """Return plain values as YAML, keys in their order.

    >>> dump_yaml({"width": 3, "name": "1e3"})
    "width: 3\\nname: '1e3'\\n"
    """
    import yaml

    dumper = _loader_and_dumper()[1]
    return yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100)


def parse_json(text: str, source: str = "The JSON text") -> Any:
    """Return the value of a JSON text.

    Args:
      text: JSON.
      source: what to call the text in a message.

    Raises:
      ParamsError: it does not parse, or an object holds a key twice.

    >>> parse_json('{"width": 3}')
    {'width': 3}
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in items]
        for key in keys:
            if keys.count(key) > 1:
                raise ParamsError(f"{source}: the key '{key}' is given twice. Keep one of them.")
        return dict(items)

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise ParamsError(
            f"{source}, line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}. "
            "Correct it."
        ) from error


def dump_json(value: Any) -> str:
    """Return plain values as JSON.

    Raises:
      ParamsError: a mapping inside a list has keys that are not text, which JSON can't hold.

    >>> dump_json({"width": 3})
    '{\\n  "width": 3\\n}'
    """
    _check_json_keys(value, "")
    return json.dumps(value, indent=2, ensure_ascii=False)


def read_file(path: Path) -> Any:
    """Return the value of a .yaml, .yml or .json file.

    Raises:
      ParamsError: it can't be read, has another ending, or does not parse.
    """
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        raise ParamsError(
            f"{path}: a params file ends in .yaml, .yml or .json, not '{path.suffix}'. Rename it."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ParamsError(
            f"{path}: the params file can't be read: {error.strerror}. Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise ParamsError(
            f"{path}: the params file is not UTF-8 text (byte {error.start}). Save it as UTF-8."
        ) from error
    parse = parse_json if path.suffix.lower() == ".json" else parse_yaml
    return parse(text, str(path))


def _check_json_keys(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ParamsError(
                    f"'{path}' has the key {key!r} ({type(key).__name__}), and JSON's keys are "
                    "text. Save as YAML, or make the key text."
                )
            _check_json_keys(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_json_keys(item, f"{path}[{index}]")


@functools.cache
def _loader_and_dumper() -> tuple[Any, Any]:
    """Make the loader and dumper, once, when YAML is first used: importing yaml takes a while."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                if key_node.tag == "tag:yaml.org,2002:merge":
                    continue
                key = self.construct_object(key_node, deep=True)
                if isinstance(key, (str, int, float)) and key in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key {key!r} is given twice; keep one of them",
                        problem_mark=key_node.start_mark,
                    )
                seen.add(key if isinstance(key, (str, int, float)) else id(key_node))
            return super().construct_mapping(node, deep)

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def represent_text(self, text: str) -> yaml.ScalarNode:
            # PyYAML folds these line breaks away unless the text stands in double quotes.
            style = '"' if any(letter in text for letter in "\x85\u2028\u2029\ufeff") else None
            return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, Dumper.represent_text)
    number = re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$|^[-+]?\.\d[\d_]*[eE][-+]?\d+$")
    for kind in (Loader, Dumper):
        kind.yaml_implicit_resolvers = {
            first: [(tag, rule) for tag, rule in rules if not tag.endswith(":timestamp")]
            for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }
        kind.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    return Loader, Dumper

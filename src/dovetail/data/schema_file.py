"""A schema as a YAML file, to be shown, edited and read again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dovetail.data.convert import DTYPES
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError, nearest

if TYPE_CHECKING:
    import yaml

_KEYS = ("name", "shape", "dtype")
_HEAD = f"""\
# The fields of one example, in order.
# shape: a size for each dimension, null where it varies from row to row; [] is a single value.
# dtype: one of {", ".join(DTYPES[:9])},
#   {", ".join(DTYPES[9:])} (bytes: encoded data, such as a JPEG file).
"""


def to_yaml(schema: Schema) -> str:
    """Write a schema as YAML text, with a comment on what may be edited.

    Args:
      schema: any schema.

    Returns:
      text that `from_yaml` reads as an equal schema.

    >>> print(to_yaml(Schema([Field("tokens", (None, 2), "int64")])).partition("JPEG file).")[2])
    <BLANKLINE>
    - name: "tokens"
      shape: [null, 2]
      dtype: int64
    <BLANKLINE>
    """
    entries = []
    for field in schema.fields:
        entries.append(
            f"- name: {_quoted(field.name)}\n"
            f"  shape: {json.dumps(list(field.shape))}\n"
            f"  dtype: {field.dtype}\n"
        )
    return _HEAD + "".join(entries)


def from_yaml(text: str, where: str = "the schema") -> Schema:
    """Read a schema from YAML text: a list of `name`, `shape` and `dtype`, as `to_yaml` writes.

    Only plain data is read; a tag that would make an object of another kind is refused.

    Args:
      text: the YAML.
      where: the file's name, for messages.

    Raises:
      DataError: naming file, line and key: it does not parse, a key is missing, unknown or there
        twice, or a value is none that a field may have.

    >>> print(from_yaml("- {name: image, shape: [28, 28], dtype: uint8}"))
    'image': uint8 [28, 28]
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        sign, line = text[error.position], text[: error.position].count("\n") + 1
        raise DataError(f"{where}, line {line}: {sign!r} may not stand in YAML.") from None
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.SequenceNode):
            line = 1 if root is None else _line(root)
            kind = "keys and values" if isinstance(root, yaml.MappingNode) else "a single value"
            raise DataError(
                f"{where}, line {line}: expected a list of fields, each `- name: ...` with shape "
                f"and dtype; got {'nothing' if root is None else kind}."
            )
        fields: list[Field] = []
        lines: dict[str, int] = {}
        for node in root.value:
            field = _field(node, loader, where)
            if field.name in lines:
                raise DataError(
                    f"{where}, line {_line(node)}: the name '{field.name}' is there again; it was "
                    f"on line {lines[field.name]}. Each field needs a name of its own."
                )
            lines[field.name] = _line(node)
            fields.append(field)
        if not fields:
            raise DataError(f"{where}, line {_line(root)}: a schema needs at least one field.")
        return Schema(fields)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise DataError(
            f"{where}{line}: this is not YAML as a schema has it: {error.problem}."
        ) from error
    except RecursionError:
        raise DataError(f"{where}: its lists are nested too deep for a schema.") from None
    finally:
        loader.dispose()


def _quoted(name: str) -> str:
    """Write a text so that YAML reads it as one, whatever it holds: yes, 1, or "a: b"."""
    signs = (
        sign if sign.isprintable() and sign not in '"\\\ufeff' else f"\\U{ord(sign):08x}"
        for sign in name
    )
    return f'"{"".join(signs)}"'


def _field(node: yaml.Node, loader: yaml.SafeLoader, where: str) -> Field:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        raise DataError(
            f"{where}, line {_line(node)}: each entry has the keys name, shape and dtype; this "
            f"is a {'list' if isinstance(node, yaml.SequenceNode) else 'single value'}."
        )
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        at = f"{where}, line {_line(key_node)}"
        if key not in _KEYS:
            raise DataError(
                f"{at}: unknown key '{key}'; an entry has name, shape and dtype."
                f"{nearest(key, _KEYS)}"
            )
        if key in values:
            raise DataError(f"{at}: the key '{key}' is there again; it was on line {lines[key]}.")
        try:
            values[key] = loader.construct_object(value_node, deep=True)
        except ValueError as error:  # such as a date that there is not
            raise DataError(f"{at}, {key}: its value can't be read ({error}).") from None
        lines[key] = _line(key_node)
    for key in _KEYS:
        if key not in values:
            raise DataError(f"{where}, line {_line(node)}: this entry lacks '{key}'.")
    name, shape, dtype = (values[key] for key in _KEYS)
    if not isinstance(name, str):
        raise DataError(
            f"{where}, line {lines['name']}: name must be a text; YAML reads this as {name!r}. Put "
            "it in quotes."
        )
    if isinstance(shape, list):  # as Python writes it, and messages here do
        shape = [None if size == "None" else size for size in shape]
    # Each part is tried beside parts that are right, so that the line of the wrong one is named.
    tries: dict[str, tuple[Any, Any, Any]] = {
        "name": (name, [], "int8"),
        "shape": ("x", shape, "int8"),
        "dtype": ("x", [], dtype),
    }
    for key, parts in tries.items():
        try:
            Field(*parts)
        except DataError as error:
            message = str(error).replace("Field 'x'", f"Field '{name}'")
            raise DataError(f"{where}, line {lines[key]}, {key}: {message}") from None
    return Field(name, shape, dtype)  # type: ignore[arg-type]  # made a tuple there


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1

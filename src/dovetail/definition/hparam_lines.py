"""The lines of a params file on which its keys stand, for messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KeyPath = tuple[str | int, ...]


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of each key and list item of a YAML or JSON text.

    Args:
      text: that parses.

    >>> key_lines("model:\\n  width: 3\\n  sizes: [1, 2]")[("model", "width")]
    2
    """
    import yaml

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return dict(_walk(root, (), frozenset())) if root is not None else {}


class Lines:
    """Where the values of a params file stand.

    Args:
      path: the file.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp(), "params.yaml")
      >>> _ = path.write_text("model:\\n  width: 3\\n")
      >>> lines = Lines(path)
      >>> lines.of(("model", "width")) == f"{path}:2", lines.of(("model", "depth")) == f"{path}:1"
      (True, True)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = key_lines(path.read_text(encoding="utf-8"))

    def of(self, key: KeyPath) -> str:
        """Return `file:line` of a key; of the section it would be in, where it is not there."""
        for end in range(len(key), 0, -1):
            if key[:end] in self._lines:
                return f"{self.path}:{self._lines[key[:end]]}"
        return str(self.path)

    def named(self, section: str, message: str) -> str:
        """Return `file:line` of the key of a section that a message names in quotes.

        Args:
          section: in which the key is.
          message: names it as 'key'; where it names none, the section's line is returned.
        """
        for key in self._lines:
            if key[0] == section and len(key) > 1 and f"'{key[-1]}'" in message:
                return self.of(key)
        return self.of((section,))


def dotted(key: KeyPath) -> str:
    """Return a key as it is written after --set.

    >>> dotted(("model", "layers", 0, "width"))
    'model.layers.0.width'
    """
    return ".".join(map(str, key))


def at(values: Mapping[str, Any], key: KeyPath) -> Any:
    """Return the value at a key, or None where there is none.

    >>> at({"model": {"sizes": [4, 5]}}, ("model", "sizes", 1))
    5
    """
    value: Any = values
    for part in key:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _walk(node: Any, path: KeyPath, above: frozenset[int]) -> Iterator[tuple[KeyPath, int]]:
    """Yield the keys below a node; one that is an alias of a node above it is not followed."""
    if id(node) in above:
        return
    above = above | {id(node)}
    if node.id == "mapping":
        for key, value in node.value:
            if key.id == "scalar":
                here = (*path, key.value)
                yield here, key.start_mark.line + 1
                yield from _walk(value, here, above)
    elif node.id == "sequence":
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _walk(item, (*path, index), above)

"""Hyperparameters: named values that a definition depends on, strict about names and types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dovetail.definition import hparam_files
from dovetail.definition.hparam_values import fit, own, plain, read
from dovetail.errors import ParamsError, a_kind, nearest


class UnknownParamError(ParamsError, AttributeError, KeyError):
    """There is no hyperparameter of this name; also an AttributeError and a KeyError."""

    def __str__(self) -> str:
        return str(self.args[0])


class HParams(Mapping[str, Any]):
    """Named hyperparameters, read as attributes or items, set only where they exist.

    A dict becomes an HParams of its own, so that `params.optimizer.lr` works; dicts inside lists
    stay dicts. A name that is also a method of this class (`values`, say) is read as an item.

    Args:
      **hparams: the names and their values, of any type.

    Raises:
      ParamsError: a name is not text.

    >>> params = HParams(learning_rate=0.1, layers=[{"type": "fc", "num_outputs": 10}])
    >>> params.add_hparam("num_layers", len(params.layers))
    >>> params.num_layers, params["learning_rate"], params.layers[0]["type"]
    (1, 0.1, 'fc')
    """

    _values: dict[str, Any]

    def __init__(self, /, **hparams: Any) -> None:
        object.__setattr__(self, "_values", {})
        for name, value in hparams.items():
            self.add_hparam(name, value)

    def __getattr__(self, name: str) -> Any:
        # Copying and pickling ask for such names before there are values.
        if name.startswith("__") or name == "_values":
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            raise self._unknown(name)
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self.set_hparam(name, value)

    def __setitem__(self, name: str, value: Any) -> None:
        self.set_hparam(name, value)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._values})

    def __repr__(self) -> str:
        shown = (f"{name}={_shown(value)}" for name, value in self._values.items())
        return f"HParams({', '.join(shown)})"

    def __copy__(self) -> HParams:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return self._values

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "_values", state)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, or the default where there is none.

        >>> HParams(width=3).get("height", 4)
        4
        """
        return self._values.get(name, default)

    def add_hparam(self, name: str, value: Any) -> None:
        """Add a name with its value.

        Raises:
          ParamsError: the name exists, or is not text.

        >>> params = HParams(width=3)
        >>> params.add_hparam("height", 4)
        >>> params.height
        4
        """
        if not isinstance(name, str) or not name:
            raise ParamsError(
                f"A hyperparameter's name must be text, but {name!r} ({type(name).__name__}) "
                "arrived. In YAML put it in quotes."
            )
        if name in self._values:
            raise ParamsError(
                f"The hyperparameter '{name}' exists already, as {_shown(self._values[name])}. "
                "To change it use set_hparam, or assign to it."
            )
        self._values[name] = _nested(value)

    def set_hparam(self, name: str, value: Any) -> None:
        """Set the value of an existing name; a section takes a dict of some of its names.

        Raises:
          ParamsError: there is no such name, or the value is of another type.

        >>> params = HParams(learning_rate=0.1)
        >>> params.set_hparam("learning_rate", 1)
        >>> params.learning_rate
        1.0
        """
        if name not in self._values:
            raise self._unknown(name)
        self.override_from_dict({name: value})

    def override_from_dict(self, values: Mapping[str, Any]) -> HParams:
        """Set several existing names, nested as they are; where one is wrong, none is set.

        Args:
          values: the new values; a section takes a mapping of some of its names.

        Returns:
          These hyperparameters.

        Raises:
          ParamsError: a name is unknown, or a value is of another type.

        >>> HParams(optimizer={"lr": 0.1, "b": 2}).override_from_dict({"optimizer": {"lr": 1}})
        HParams(optimizer=HParams(lr=1.0, b=2))
        """
        self.copy()._merge(values, "")
        self._merge(values, "")
        return self

    def override(self, name: str, value: Any) -> HParams:
        """Set one value at any depth.

        Args:
          name: a dotted name; a number stands for an item of a list.
          value: the value, or a text that is read as the type of the value there is.

        Returns:
          These hyperparameters.

        Raises:
          ParamsError: the name is unknown, or the value is of another type.

        >>> HParams(layers=[{"width": 3}]).override("layers.0.width", "5")
        HParams(layers=[{'width': 5}])
        """
        _override(self, name, value, name)
        return self

    def parse(self, text: str) -> HParams:
        """Set several values from one text, such as `learning_rate=0.1,layers=[1,2]`.

        Args:
          text: `name=value` pairs with commas between them; names may be dotted.

        Returns:
          These hyperparameters.

        Raises:
          ParamsError: a pair has no `=`, a name is unknown, or a value is of another type.

        >>> HParams(width=1, sizes=[1]).parse("width=3,sizes=[4,5]")
        HParams(width=3, sizes=[4, 5])
        """
        pairs = [pair.partition("=") for pair in _split(text)]
        for name, equals, _ in pairs:
            if not equals or not name.strip():
                raise ParamsError(
                    f"'{name.strip()}' in {text!r} is no assignment. "
                    "Write name=value, with commas between."
                )
        for target in (self.copy(), self):
            for name, _, value in pairs:
                target.override(name.strip(), value)
        return self

    def copy(self) -> HParams:
        """Return a copy that shares no container with this one.

        >>> HParams(sizes=[1]).copy() == HParams(sizes=[1])
        True
        """
        copied = HParams()
        copied._values.update({name: _copied(value) for name, value in self._values.items()})
        return copied

    def to_dict(self) -> dict[str, Any]:
        """Return the values as a dict of dicts, containers copied.

        >>> HParams(optimizer={"lr": 0.1}).to_dict()
        {'optimizer': {'lr': 0.1}}
        """
        return own(self)

    def to_yaml(self) -> str:
        """Return the values as YAML; functions and classes as `module:name`.

        >>> HParams(width=3, activation=print).to_yaml()
        'width: 3\\nactivation: builtins:print\\n'
        """
        return hparam_files.dump_yaml(plain(self))

    def to_json(self) -> str:
        """Return the values as JSON; functions and classes as `module:name`.

        Raises:
          ParamsError: a mapping among the values has keys that are not text.

        >>> HParams(width=3).to_json()
        '{\\n  "width": 3\\n}'
        """
        return hparam_files.dump_json(plain(self))

    @classmethod
    def from_yaml(cls, text: str) -> HParams:
        """Return the hyperparameters of a YAML text. Names of functions stay text.

        Raises:
          ParamsError: it does not parse, or is no mapping.

        >>> HParams.from_yaml("width: 3")
        HParams(width=3)
        """
        return _from_mapping(hparam_files.parse_yaml(text), "The YAML text")

    @classmethod
    def from_json(cls, text: str) -> HParams:
        """Return the hyperparameters of a JSON text. Names of functions stay text.

        Raises:
          ParamsError: it does not parse, or is no object.

        >>> HParams.from_json('{"width": 3}')
        HParams(width=3)
        """
        return _from_mapping(hparam_files.parse_json(text), "The JSON text")

    @classmethod
    def from_file(cls, path: str | Path) -> HParams:
        """Return the hyperparameters of a .yaml, .yml or .json file.

        Raises:
          ParamsError: the file can't be read, does not parse, or holds no mapping.
        """
        return _from_mapping(hparam_files.read_file(Path(path)), str(path))

    def _merge(self, values: Mapping[str, Any], path: str) -> None:
        for name, value in values.items():
            if name not in self._values:
                raise self._unknown(name, path)
            existing = self._values[name]
            if isinstance(existing, HParams) and isinstance(value, Mapping):
                existing._merge(value, f"{path}{name}.")
            else:
                self._values[name] = _nested(fit(existing, value, f"{path}{name}"))

    def _unknown(self, name: object, path: str = "") -> UnknownParamError:
        known = ", ".join(self._values) or "none"
        return UnknownParamError(
            f"There is no hyperparameter '{path}{name}'.{nearest(str(name), self._values)} "
            f"There are: {known}. A new one is added with add_hparam."
        )


def _override(owner: Any, name: str, value: Any, full: str) -> None:
    """Set the value that a dotted name leads to, starting at a section, dict or list."""
    done = full[: len(full) - len(name)]
    head, _, rest = (name, "", "") if name in owner else name.partition(".")
    key: Any = head
    if isinstance(owner, list):
        if not head.isdigit() or int(head) >= len(owner):
            raise UnknownParamError(
                f"There is no hyperparameter '{full}': '{done.rstrip('.')}' is a list of "
                f"{len(owner)} items. Write the position of one, from 0, not '{head}'."
            )
        key = int(head)
    elif head not in owner:
        unknown = owner if isinstance(owner, HParams) else HParams(**dict(owner))
        raise unknown._unknown(head, done)
    existing = owner[key]
    if rest and isinstance(existing, (Mapping, list)):
        _override(existing, rest, value, full)
        return
    if rest:
        raise UnknownParamError(
            f"There is no hyperparameter '{full}': '{done}{head}' is {_shown(existing)}, "
            f"which has no parts. Set '{done}{head}' itself."
        )
    if isinstance(owner, HParams) and not isinstance(value, str):
        owner.copy()._merge({head: value}, done)
        owner._merge({head: value}, done)
    else:
        new = read(existing, value, full) if isinstance(value, str) else fit(existing, value, full)
        container = owner._values if isinstance(owner, HParams) else owner
        container[key] = _nested(new) if isinstance(owner, HParams) else own(new)


def _nested(value: Any) -> Any:
    if isinstance(value, HParams):
        return value.copy()
    if isinstance(value, Mapping) and all(isinstance(key, str) and key for key in value):
        return HParams(**value)
    return own(value)


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, HParams) else own(value)


def _from_mapping(value: Any, source: str) -> HParams:
    if value is None:
        return HParams()
    if not isinstance(value, dict):
        raise ParamsError(
            f"{source}: expected names with values, but {a_kind(value)} arrived. "
            "Write it as `name: value`."
        )
    params = HParams()
    try:
        for name, item in value.items():
            params.add_hparam(name, item)
    except ParamsError as error:
        raise ParamsError(f"{source}: {error}") from error
    return params


def _shown(value: Any) -> str:
    """Return a value's repr, functions by name: their own repr holds an address."""
    if isinstance(value, HParams):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return plain(value) if callable(value) else repr(value)


def _split(text: str) -> list[str]:
    """Split a text at the commas that stand outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for position, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [part for part in parts if part.strip()]

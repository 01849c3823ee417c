"""Which columns of a table become which fields, as the user asks for it."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dovetail.data.schema import Schema
from dovetail.errors import DataError, nearest

LABEL = "label"  # the name of the field that a label column becomes


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What all readers of tables let the user say.

    Args:
      schema: what the rows are to be: its fields choose the columns, by name. None infers it.
      columns: names of the columns to keep, in this order; None keeps all.
      label: the column that becomes the field `label`: text as the index of its class, whole
        numbers as int64, anything else as it is.
      classes: the label's texts in the order of their labels; None takes those in the files,
        sorted. They are kept as `classes` in the records' metadata.
      categories: columns of text to store as the index of their value: a list of names takes the
        values from the files, sorted; a dict of name to list gives them. They are kept as
        `categories` in the records' metadata.
      join: name of a new field -> a pattern such as "pixel*", or a list of columns: these columns
        of numbers become one field, in the order of the file.
      fill: the value for empty cells: one for all columns of its kind, or a dict by column. None
        refuses a column with an empty cell.
      floats: "float32" rounds all float64 columns to it; None keeps them.

    Raises:
      DataError: an option can't be meant so.
    """

    schema: Schema | None = None
    columns: Sequence[str] | None = None
    label: str | None = None
    classes: Sequence[str] | None = None
    categories: Sequence[str] | Mapping[str, Sequence[str]] = ()
    join: Mapping[str, str | Sequence[str]] | None = None
    fill: Any = None
    floats: Literal["float32"] | None = None

    def __post_init__(self) -> None:
        me = type(self).__name__
        for option in ("columns", "classes", "categories"):
            value = getattr(self, option)
            if isinstance(value, str):  # as the command line gives a list of one
                value = (value,)
            if isinstance(value, Mapping):
                value = {name: tuple(map(str, values)) for name, values in value.items()}
            elif value is not None:
                value = tuple(map(str, value))
                if len(set(value)) != len(value):
                    twice = sorted({name for name in value if value.count(name) > 1})
                    raise DataError(f"{me}: {option} must name each once; {twice} is there again.")
            object.__setattr__(self, option, value)
        if self.columns is not None and not self.columns:
            raise DataError(f"{me}: columns must name at least one column, or be None for all.")
        if self.schema is not None and self.columns is not None:
            raise DataError(
                f"{me}: both a schema and columns are given; the schema's fields say which columns "
                "are kept. Leave columns out."
            )
        if self.classes is not None and self.label is None:
            raise DataError(f"{me}: classes are given, but no label column (label=...).")
        if self.floats not in (None, "float32"):
            raise DataError(f'{me}: floats must be "float32" or None; got {self.floats!r}.')
        if self.join is not None and not isinstance(self.join, Mapping):
            raise DataError(
                f"{me}: join must be a dict such as {{'image': 'pixel*'}}; got {self.join!r}."
            )

    def given_values(self, column: str) -> tuple[str, ...] | None:
        """Return the values of a text column that the user gave, in order; None if not given."""
        if column == self.label and self.classes is not None:
            return tuple(self.classes)
        if isinstance(self.categories, Mapping):
            return tuple(self.categories[column]) if column in self.categories else None
        return None

    def fill_for(self, column: str, *, numeric: bool) -> Any:
        """Return the value for a column's empty cells; None if there is none."""
        if isinstance(self.fill, Mapping):
            return self.fill.get(column)
        if isinstance(self.fill, str):
            return None if numeric else self.fill
        return self.fill if numeric else None

    def layout(self, there: Sequence[str], where: str) -> dict[str, tuple[str, ...]]:
        """Say which columns each field is made of.

        Args:
          there: names of the columns of the files.
          where: a file's name, for messages.

        Returns:
          name of the field -> names of its columns; only a field of `join` has several.

        Raises:
          DataError: a column that is asked for is not there, or two fields have one name.

        >>> TableOptions(label="kind", join={"x": "x*"}).layout(["kind", "x0", "x1"], "a.csv")
        {'label': ('kind',), 'x': ('x0', 'x1')}
        """
        joins = {name: self._joined(name, there, where) for name in self.join or {}}
        taken = {column: name for name, columns in joins.items() for column in columns}
        for option in ("categories", "fill"):
            value = getattr(self, option)
            for column in value if isinstance(value, Mapping | tuple) else ():
                self._check(column, there, option, where)
        if self.label is not None:
            self._check(self.label, there, "label", where)
        chosen = [name for name in there if name not in taken]
        if self.schema is not None:
            fields = {
                name: joins.get(name)
                or ((self.label,) if name == LABEL and self.label else (name,))
                for name in self.schema
            }
            for columns in fields.values():
                self._check(columns[0], there, "the schema", where)
            if self.label is not None and LABEL not in fields:
                raise DataError(
                    f"The label column '{self.label}' becomes the field '{LABEL}', which the "
                    f"schema ({', '.join(self.schema)}) lacks. Name it so there."
                )
            return fields
        if self.columns is not None:
            for name in self.columns:
                self._check(name, [*there, *joins], "columns", where)
            chosen = [name for name in self.columns if name not in taken and name not in joins]
            if self.label is not None and self.label not in chosen:
                chosen.append(self.label)
        fields: dict[str, tuple[str, ...]] = {}
        for name in [*chosen, *joins]:
            field = LABEL if name == self.label else name
            if not field:
                raise DataError(
                    f"{where}: column {there.index(name)} has no name. Choose others by "
                    "columns=[...], or give it a name in the file."
                )
            if field in fields:
                raise DataError(
                    f"{where}: two columns become the field '{field}'. Leave one out "
                    "(columns=[...])."
                )
            fields[field] = joins.get(name, (name,))
        return fields

    def _joined(self, name: str, there: Sequence[str], where: str) -> tuple[str, ...]:
        wanted = (self.join or {})[name]
        if name in there:
            raise DataError(f"{where}: there is a column '{name}'; give join's field another name.")
        if not isinstance(wanted, str):
            for column in wanted:
                self._check(column, there, f"join's '{name}'", where)
            return tuple(wanted)
        found = tuple(c for c in there if fnmatch.fnmatchcase(c, wanted) and c != self.label)
        if not found:
            raise DataError(
                f"{where}: no column matches join's '{name}': '{wanted}'. It has {_some(there)}."
            )
        return found

    def _check(self, column: str, there: Sequence[str], option: str, where: str) -> None:
        if column not in there:
            raise DataError(
                f"{where}: there is no column '{column}', which {option} names."
                f"{nearest(column, there)} It has {_some(there)}."
            )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 20 else f"{', '.join(names[:20])}, ... ({len(names)})"

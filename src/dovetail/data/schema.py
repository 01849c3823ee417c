"""What one example is made of: named fields, each with a shape and a dtype."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from dovetail.data.convert import NUMERIC_DTYPES, convert_value, dtype_name
from dovetail.errors import DataError, nearest

Kind = Literal["fixed", "ragged", "bytes"]
Value = np.ndarray | str | bytes


@dataclass(frozen=True)
class Field:
    """One named value of an example.

    Args:
      name: the key under which the value is found in a row and among the features.
      shape: one entry a dimension; None where the size varies from row to row. `()` is a scalar.
      dtype: a number type's numpy name, "string" or "bytes" (encoded data, such as a JPEG file).
        numpy, torch and TensorFlow dtypes are taken and turned into that name.

    Raises:
      DataError: if the name, a dimension or the dtype can't be stored.

    >>> Field("image", (28, 28), np.uint8).kind
    'fixed'
    >>> Field("tokens", [None], "int64").kind
    'ragged'
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise DataError(f"A field's name must be a text that is not empty; got {self.name!r}.")
        shape: object = self.shape
        if isinstance(shape, str | bytes) or not isinstance(shape, Iterable):
            raise DataError(
                f"Field '{self.name}': shape must be a list such as [28, 28], [None] where a size "
                f"varies, or [] for a scalar; got {shape!r}."
            )
        sizes = tuple(shape)
        for size in sizes:
            whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
            if size is not None and not (whole and size >= 1):
                raise DataError(
                    f"Field '{self.name}': each size in shape must be 1 or more, or None where it "
                    f"varies from row to row; got {size!r} in {list(sizes)}."
                )
        known = tuple(None if size is None else int(size) for size in sizes)
        object.__setattr__(self, "shape", known)
        object.__setattr__(self, "dtype", dtype_name(self.dtype, f"Field '{self.name}'"))

    @property
    def kind(self) -> Kind:
        """How rows are stored: "fixed" (every row as long), "ragged" or "bytes"."""
        if self.dtype == "bytes":
            return "bytes"
        return "ragged" if self.dtype == "string" or None in self.shape else "fixed"

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers, not text or bytes."""
        return self.dtype in NUMERIC_DTYPES

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype of an array of this field's values; object for text and bytes."""
        return np.dtype(self.dtype) if self.is_numeric else np.dtype(object)

    @property
    def row_bytes(self) -> int:
        """Bytes that one row takes, for a field of kind "fixed"."""
        assert self.kind == "fixed"
        return math.prod(size or 0 for size in self.shape) * self.numpy_dtype.itemsize

    def __str__(self) -> str:
        sizes = ", ".join("None" if size is None else str(size) for size in self.shape)
        return f"'{self.name}': {self.dtype} [{sizes}]"


@dataclass(frozen=True)
class Schema(Mapping[str, Field]):
    """The fields of every example of a data set, in order; a mapping from name to `Field`.

    Args:
      fields: at least one field; no two of one name.

    Raises:
      DataError: if there is no field, or a name is there twice.

    >>> schema = Schema([Field("image", (2, 2), "uint8"), Field("label", (1,), "int64")])
    >>> row = schema.convert((np.zeros((2, 2), np.uint8), 3), "a.png")
    >>> row["label"]
    array([3])
    """

    fields: tuple[Field, ...]
    _by_name: dict[str, Field] = field(init=False, repr=False, compare=False, hash=False)

    def __init__(self, fields: Iterable[Field]) -> None:
        kept = tuple(fields)
        if not kept:
            raise DataError("A schema needs at least one field; got none.")
        for one in kept:
            if not isinstance(one, Field):
                raise DataError(
                    f"A schema is made of fields; got {one!r}. Use Schema.from_list for dicts."
                )
        by_name = {one.name: one for one in kept}
        if len(by_name) != len(kept):
            names = [one.name for one in kept]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise DataError(f"Each field needs a name of its own; {twice} is there twice or more.")
        object.__setattr__(self, "fields", kept)
        object.__setattr__(self, "_by_name", by_name)

    @classmethod
    def from_list(cls, items: Iterable[Mapping[str, Any]] | Schema) -> Schema:
        """Read what a model file's `data_schema()` returns: a list of dicts.

        Args:
          items: dicts of "name", "shape" and "dtype"; a Schema is returned as it is.

        Returns:
          the schema, its fields in the list's order.

        Raises:
          DataError: naming the entry, if a key is missing or unknown or a value is wrong.

        >>> Schema.from_list([{"name": "x", "shape": [3], "dtype": "float32"}])["x"].shape
        (3,)
        """
        if isinstance(items, Schema):
            return items
        if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
            raise DataError(
                "data_schema must give a list of dicts, each with 'name', 'shape' and 'dtype'; "
                f"got {type(items).__name__}."
            )
        keys = ("name", "shape", "dtype")
        fields: list[Field] = []
        for position, item in enumerate(items):
            if isinstance(item, Field):
                fields.append(item)
                continue
            if not isinstance(item, Mapping):
                raise DataError(
                    f"Entry {position} of data_schema must be a dict with 'name', 'shape' and "
                    f"'dtype'; got {item!r}."
                )
            for key in item:
                if key not in keys:
                    raise DataError(
                        f"Entry {position} of data_schema has the unknown key {key!r}; an entry "
                        f"has 'name', 'shape' and 'dtype'.{nearest(str(key), keys)}"
                    )
            for key in keys:
                if key not in item:
                    raise DataError(f"Entry {position} of data_schema lacks '{key}': {dict(item)}.")
            fields.append(Field(item["name"], item["shape"], item["dtype"]))
        return cls(fields)

    def to_list(self) -> list[dict[str, Any]]:
        """Give the schema as plain dicts, as JSON can hold and `from_list` reads."""
        return [{"name": f.name, "shape": list(f.shape), "dtype": f.dtype} for f in self.fields]

    def convert(self, row: tuple[Any, ...] | Mapping[str, Any], where: str) -> dict[str, Value]:
        """Turn one example into exactly the schema's dtypes and shapes, losing nothing.

        A number is converted where its value stays the same (uint8 to float32, 3.0 to int64); a
        Python float takes the field's float type. Sizes of one are added or removed (a scalar to
        [1], [28, 28] to [28, 28, 1]).

        Args:
          row: a tuple in the schema's order, or a dict by name.
          where: the file (or place) that the row is from, for messages.

        Returns:
          one value a field, in order: an array of the field's dtype; a str or bytes for a field
          of those dtypes with shape [], and an object array of them with any other shape.

        Raises:
          DataError: naming the field and `where`, if something is missing, unknown, or would
            be changed by the conversion.

        >>> Schema([Field("x", (1,), "float32")]).convert({"x": 7}, "row 0")["x"]
        array([7.], dtype=float32)
        """
        if isinstance(row, Mapping):
            if row.keys() != self._by_name.keys():
                self._refuse_names(row, where)
            return {f.name: convert_value(row[f.name], f, where) for f in self.fields}
        if not isinstance(row, tuple):
            raise DataError(
                f"{where}: expected a tuple of {len(self.fields)} values ({', '.join(self)}) or a "
                f"dict by name; got {type(row).__name__}."
            )
        if len(row) != len(self.fields):
            raise DataError(
                f"{where}: expected {len(self.fields)} values ({', '.join(self)}); got {len(row)}."
            )
        pairs = zip(row, self.fields, strict=True)
        return {f.name: convert_value(value, f, where) for value, f in pairs}

    def _refuse_names(self, row: Mapping[str, Any], where: str) -> None:
        missing = [name for name in self if name not in row]
        unknown = [str(name) for name in row if name not in self._by_name]
        said = f" It lacks {missing}." if missing else ""
        if unknown:
            said += f" It has {unknown}, which the schema has not.{nearest(unknown[0], self)}"
        raise DataError(f"{where}: the row's names are not the schema's ({', '.join(self)}).{said}")

    def differences(self, other: Schema) -> list[str]:
        """Say what `other` has otherwise, one line a field; an empty list if they are equal.

        >>> old = Schema([Field("x", (2,), "int8")])
        >>> old.differences(Schema([Field("x", (3,), "int8")]))
        ["'x': int8 [2] here, int8 [3] there"]
        """
        lines: list[str] = []
        for one in self.fields:
            twin = other.get(one.name)
            if twin is None:
                lines.append(f"{one} here, absent there{nearest(one.name, other)}")
            elif twin != one:
                lines.append(f"{one} here, {str(twin).partition(': ')[2]} there")
        lines += [f"{one} there, absent here" for one in other.fields if one.name not in self]
        return lines

    def example(self, batch_size: int) -> dict[str, np.ndarray]:
        """Make a batch of zeros (empty text) of this schema; a size that varies is 1.

        >>> Schema([Field("x", (2, None), "int8")]).example(4)["x"].shape
        (4, 2, 1)
        """
        batch: dict[str, np.ndarray] = {}
        for one in self.fields:
            shape = (batch_size, *(1 if size is None else size for size in one.shape))
            empty: object = 0 if one.is_numeric else "" if one.dtype == "string" else b""
            batch[one.name] = np.full(shape, empty, one.numpy_dtype)
        return batch

    def __getitem__(self, name: str) -> Field:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self.fields)

    def __str__(self) -> str:
        return "; ".join(str(one) for one in self.fields)

"""A batch of records as `input_fn(records)` gets it: rows to walk over, and whole columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from dovetail.errors import DataError, nearest


class Rows(Sequence[dict[str, Any]]):
    """Some rows of a record set, copied out of it: what is written to them goes nowhere else.

    Args:
      columns: each field's values, one for each row.

    A row is a dict by field name; its arrays are views of the batch's columns, so a value
    written in place (`row["x"][:] = 0`) is seen in the column too, while a new value put in the
    dict stays with that row. Whole columns are the quick way.

    >>> rows = Rows({"x": np.array([[1, 2], [3, 4]]), "name": ["a", "b"]})
    >>> rows[1]["name"], rows["x"].sum(), [int(row["x"][0]) for row in rows]
    ('b', np.int64(10), [1, 3])
    """

    def __init__(self, columns: Mapping[str, np.ndarray | list[Any]]) -> None:
        self.columns = dict(columns)
        lengths = {len(column) for column in self.columns.values()}
        assert len(lengths) == 1, lengths
        self._length = lengths.pop()
        self._rows: list[dict[str, Any]] | None = None

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            if key not in self.columns:
                raise DataError(
                    f"The records have no field '{key}'; they have {list(self.columns)}."
                    f"{nearest(key, self.columns)}"
                )
            return self.columns[key]
        return self._all()[key]

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._all())

    def __repr__(self) -> str:
        return f"Rows({self._length} rows of {list(self.columns)})"

    def _all(self) -> list[dict[str, Any]]:
        if self._rows is None:
            names = list(self.columns)
            columns = self.columns.values()
            self._rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        return self._rows

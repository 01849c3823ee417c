"""Which columns each file of a table must have, and of which types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dovetail.data.readers.table_types import ColumnType, joined
from dovetail.errors import DataError, nearest


@dataclass(frozen=True)
class Expected:
    """The columns that each file must have.

    Attributes:
      first: name of the file that they are known from.
      columns: their names.
      alone: whether a file may have no others.
    """

    first: str
    columns: tuple[str, ...]
    alone: bool

    def check(self, name: str, there: Sequence[str]) -> None:
        """Raise a DataError that names both files and the difference, if there is one.

        >>> Expected("a.csv", ("x",), alone=False).check("b.csv", ["x", "y"])
        """
        refuse_doubled(there, name)
        missing = [column for column in self.columns if column not in there]
        extra = [column for column in there if column not in self.columns] if self.alone else []
        if not missing and not extra:
            return
        said = f" It lacks {missing}." if missing else ""
        said += f" It has {extra}, which the first has not." if extra else ""
        hint = nearest(missing[0], extra) if missing and extra else ""
        raise DataError(
            f"{name}: its columns are not those of '{self.first}'.{said}{hint} Prepare the files "
            "apart, or keep the columns that they share (columns=[...])."
        )


def refuse_doubled(names: Sequence[str], where: str) -> None:
    """Raise a DataError where two columns have one name."""
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        raise DataError(f"{where}: columns need names of their own; {twice} is there again.")


def widened(
    types: Mapping[str, ColumnType], more: Mapping[str, ColumnType], first: str, name: str
) -> dict[str, ColumnType]:
    """Give the types that hold the columns of both; `name` is the file that `more` is from.

    Raises:
      DataError: naming both files and the column whose types have nothing in common.
    """
    wide: dict[str, ColumnType] = {}
    for column, one in types.items():
        both = joined(one, more[column])
        if both is None:
            raise DataError(
                f"{name}: column '{column}' holds {more[column]}, but in '{first}' {one}. No type "
                "holds both exactly: store it alike in all files, or leave it out (columns=[...])."
            )
        wide[column] = both
    return wide

"""Settle, once for all files, which fields their columns become."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from dovetail.data.readers.table_options import TableOptions
from dovetail.data.readers.table_rows import Batch, PlannedField, TablePlan, distinct_texts
from dovetail.data.readers.table_types import ColumnType, flat_names, joined, type_of
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError, nearest

Distinct = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]


R = TypeVar("R", bound=TableOptions)


def bound_to(reader: R, plan: TablePlan) -> R:
    """Return a copy of a reader that follows a plan: its schema is the plan's."""
    twin = copy.copy(reader)
    object.__setattr__(twin, "schema", plan.schema)
    object.__setattr__(twin, "_plan", plan)
    return twin


def kept_beside(plan: TablePlan | None) -> dict[str, Any]:
    """Give what records keep beside the rows of a plan, a copy; nothing where there is none."""
    return {} if plan is None else copy.deepcopy(plan.metadata)


def refuse_doubled(names: Sequence[str], where: str) -> None:
    """Raise a DataError where two columns have one name."""
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        raise DataError(f"{where}: columns need names of their own; {twice} is there again.")


def plan_typed(
    options: TableOptions,
    files: Sequence[str],
    schema_of: Callable[[str], pa.Schema],
    batches: Callable[[str, Sequence[str]], Iterator[Batch]],
) -> TablePlan:
    """Make the plan for files that say their columns' types, as Parquet and Arrow files do.

    Args:
      options: the user's.
      files: names of all files.
      schema_of: reads a file's Arrow schema.
      batches: reads some columns of a file.

    Raises:
      DataError: naming file and column: see `make_plan`, `check_columns` and `widened`.
    """
    first, expected = "", []
    layout: dict[str, tuple[str, ...]] = {}
    types: dict[str, ColumnType] = {}
    for name in files:
        columns = flat_names(schema_of(name))
        if not layout:
            first, expected = name, [column for column, _ in columns]
            refuse_doubled(expected, first)
            layout = options.layout(expected, first)
        check_columns(options, first, expected, name, [column for column, _ in columns])
        there = dict(columns)
        mine = {
            column: type_of(there[column], f"{name}: column '{column}'")
            for sources in layout.values()
            for column in sources
        }
        types = widened(types, mine, first, name) if types else mine

    def distinct(wanted: Sequence[str]) -> dict[str, list[str]]:
        fills = {column: options.fill_for(column, numeric=False) for column in wanted}
        return distinct_texts(wanted, fills, (b for name in files for b in batches(name, wanted)))

    return make_plan(options, layout, types, distinct, first)


def check_columns(
    options: TableOptions, first: str, expected: Sequence[str], name: str, there: Sequence[str]
) -> None:
    """Refuse a file whose columns are not those of the first one, or that lacks one asked for.

    Raises:
      DataError: naming both files and the difference.
    """
    refuse_doubled(there, name)
    if options.columns is not None or options.schema is not None:
        if name != first:  # the first one's are asked for when the plan is made
            layout = options.layout(expected, first)
            expected = [column for sources in layout.values() for column in sources]
        missing, extra = [column for column in expected if column not in there], []
    else:
        missing = [column for column in expected if column not in there]
        extra = [column for column in there if column not in expected]
    if missing or extra:
        said = f" It lacks {missing}." if missing else ""
        said += f" It has {extra}, which the first has not." if extra else ""
        hint = nearest(missing[0], extra) if missing and extra else ""
        raise DataError(
            f"{name}: its columns are not those of '{first}'.{said}{hint} Prepare the files apart, "
            "or keep the columns that they share (columns=[...])."
        )


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


def make_plan(
    options: TableOptions,
    layout: Mapping[str, tuple[str, ...]],
    types: Mapping[str, ColumnType],
    distinct: Distinct,
    where: str,
    *,
    rounds: bool = False,
) -> TablePlan:
    """Settle what each field is.

    Args:
      options: the user's.
      layout: columns of each field, as `TableOptions.layout` gives them.
      types: what the columns of all files hold.
      distinct: gives the texts that columns hold over all files, sorted.
      where: a file's name, for messages.
      rounds: whether floats may be rounded to the schema's, as decimal text always is.

    Raises:
      DataError: the options do not fit the columns, or the schema's floats would round these.
    """
    coded = {
        sources[0]
        for name, sources in layout.items()
        if sources[0] in options.categories
        or (sources[0] == options.label and types[sources[0]] == ColumnType((), "string"))
    }
    open_ones = [column for column in coded if options.given_values(column) is None]
    found = distinct(open_ones) if open_ones else {}
    fields: list[PlannedField] = []
    metadata: dict[str, Any] = {}
    for name, sources in layout.items():
        joins = name in (options.join or {})
        kind = _joined_type(name, sources, types, where) if joins else types[sources[0]]
        values: tuple[str, ...] | None = None
        source = sources[0]
        if source in coded and not joins:
            if kind != ColumnType((), "string"):
                raise DataError(
                    f"{where}: column '{source}' holds {kind}, so its values can't be categories: "
                    "only text is stored by index. Leave it out of categories."
                )
            values = options.given_values(source) or tuple(found[source])
            _keep(metadata, source, source == options.label, values)
            kind = ColumnType((), "int64")
        elif options.classes is not None and source == options.label:
            raise DataError(
                f"{where}: the label column '{source}' holds {kind}, not text, so it has no "
                "classes. Leave classes out."
            )
        elif source == options.label and kind.is_numeric and np.dtype(kind.dtype).kind in "iub":
            kind = kind._replace(dtype="int64")
        if kind.unit is not None:
            metadata.setdefault("units", {})[name] = kind.unit
        numeric = kind.is_numeric and values is None
        fills = tuple(options.fill_for(column, numeric=numeric) for column in sources)
        narrows = options.floats is not None and kind.dtype == "float64"
        if narrows:
            kind = kind._replace(dtype="float32")
        if options.schema is None:
            field = Field(name, kind.shape, kind.dtype)
        else:
            field = options.schema[name]
            _check_rounding(field, kind, source, where, rounds or narrows)
        fields.append(PlannedField(field, sources, fills, values, rounds or narrows, joins))
    return TablePlan(tuple(fields), Schema(one.field for one in fields), metadata)


def _joined_type(
    name: str, sources: tuple[str, ...], types: Mapping[str, ColumnType], where: str
) -> ColumnType:
    whole: ColumnType | None = None
    for column in sources:
        kind = types[column]
        whole = kind if whole is None else joined(whole, kind)
        if kind.shape or not kind.is_numeric or whole is None:
            raise DataError(
                f"{where}: column '{column}' holds {kind}, so it can't be joined with the others "
                f"of '{name}': join takes single numbers of types that go together."
            )
    assert whole is not None
    return whole._replace(shape=(len(sources),))


def _keep(metadata: dict[str, Any], source: str, is_label: bool, values: Sequence[str]) -> None:
    if is_label:
        metadata["classes"] = list(values)
    else:
        metadata.setdefault("categories", {})[source] = list(values)


def _check_rounding(field: Field, kind: ColumnType, source: str, where: str, rounds: bool) -> None:
    if not (kind.is_numeric and field.is_numeric) or rounds:
        return
    have, want = np.dtype(kind.dtype), field.numpy_dtype
    if have.kind == want.kind == "f" and want.itemsize < have.itemsize:
        raise DataError(
            f"{where}: column '{source}' holds {have} and the schema's field {field} would round "
            'it. If that is meant, say floats="float32"; else change the schema.'
        )

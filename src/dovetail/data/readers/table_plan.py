"""Settle, once for all files, which fields their columns become."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from dovetail.data.readers.table_columns import Expected, refuse_doubled, widened
from dovetail.data.readers.table_options import TableOptions
from dovetail.data.readers.table_rows import Batch, PlannedField, TablePlan, distinct_texts
from dovetail.data.readers.table_types import ColumnType, flat_names, joined, type_of
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

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


def plan_typed(
    options: TableOptions,
    files: Sequence[str],
    schema_of: Callable[[str], pa.Schema],
    batches: Callable[[str, Sequence[str]], Iterator[Batch]],
) -> TablePlan:
    """Make the plan for files that say their columns' types, as Parquet and Arrow files do.

    A file that can't be read, or does not go with the others, counts for nothing here: reading
    it is refused, which may be what the user wants to be told of at the end.

    Args:
      options: the user's.
      files: names of all files.
      schema_of: reads a file's Arrow schema.
      batches: reads some columns of a file.

    Raises:
      DataError: no file can be read, or the options do not fit; see `make_plan`.
    """
    expected: Expected | None = None
    layout: dict[str, tuple[str, ...]] = {}
    types: dict[str, ColumnType] = {}
    good: list[str] = []
    failures: list[DataError] = []
    for name in files:
        try:
            columns = flat_names(schema_of(name))
            refuse_doubled([column for column, _ in columns], name)
        except DataError as error:
            failures.append(error)
            continue
        if expected is None:
            expected, layout = what_is_expected(options, name, [column for column, _ in columns])
        try:
            mine = types_in(expected, layout, name, columns)
            types = widened(types, mine, expected.first, name) if types else mine
            good.append(name)
        except DataError as error:
            failures.append(error)
    if expected is None or not good:
        raise failures[0]

    def distinct(wanted: Sequence[str]) -> dict[str, list[str]]:
        fills = {column: options.fill_for(column, numeric=False) for column in wanted}
        return distinct_texts(wanted, fills, (partial(batches, name, wanted) for name in good))

    return make_plan(options, layout, types, distinct, expected)


def what_is_expected(
    options: TableOptions, first: str, there: Sequence[str]
) -> tuple[Expected, dict[str, tuple[str, ...]]]:
    """Say what each file must have, from the first one's columns, and each field's columns."""
    layout = options.layout(there, first)
    if options.columns is None and options.schema is None:
        return Expected(first, tuple(there), alone=True), layout
    sources = dict.fromkeys(column for columns in layout.values() for column in columns)
    return Expected(first, tuple(sources), alone=False), layout


def types_in(
    expected: Expected,
    layout: Mapping[str, tuple[str, ...]],
    name: str,
    columns: Sequence[tuple[str, pa.DataType]],
) -> dict[str, ColumnType]:
    """Give the types of a file's columns that become fields, once its columns are checked.

    Raises:
      DataError: naming the file, and the column that is not there or can't be stored.
    """
    expected.check(name, [column for column, _ in columns])
    there = dict(columns)
    return {
        column: type_of(there[column], f"{name}: column '{column}'")
        for sources in layout.values()
        for column in sources
    }


def check_typed(plan: TablePlan, name: str, schema: pa.Schema) -> None:
    """Refuse a file whose columns or types are not those that the plan was made for.

    Raises:
      DataError: naming the file and what differs.
    """
    layout = {one.field.name: one.sources for one in plan.fields}
    mine = types_in(plan.expected, layout, name, flat_names(schema))
    wide = widened(plan.types, mine, plan.expected.first, name)
    for column, kind in wide.items():
        if kind != plan.types[column]:
            raise DataError(
                f"{name}: column '{column}' holds {mine[column]}, but when all files were looked "
                f"at, {plan.types[column]} held it. Has the file changed since? Prepare them again."
            )


def make_plan(
    options: TableOptions,
    layout: Mapping[str, tuple[str, ...]],
    types: Mapping[str, ColumnType],
    distinct: Distinct,
    expected: Expected,
    *,
    rounds: bool = False,
) -> TablePlan:
    """Settle what each field is.

    Args:
      options: the user's.
      layout: columns of each field, as `TableOptions.layout` gives them.
      types: what the columns of all files hold.
      distinct: gives the texts that columns hold over all files, sorted.
      expected: the columns that each file must have.
      rounds: whether floats may be rounded to the schema's, as decimal text always is.

    Raises:
      DataError: the options do not fit the columns, or the schema's floats would round these.
    """
    where = expected.first
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
    schema = Schema(one.field for one in fields)
    return TablePlan(tuple(fields), schema, metadata, expected, dict(types))


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

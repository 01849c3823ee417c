"""Any schema and values that are allowed come back equal, however they are stored and read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from dovetail.data.convert import DTYPES
from dovetail.data.feed import RecordFeed
from dovetail.data.order import batch_indices
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema

SIZES = [1, 2, 3, 5, 7, 8, 13, 31, 33]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """One to four fields of any name, dtype and shape, fixed and varying; at most 200 numbers."""
    fields = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        shape = draw(st.lists(st.one_of(st.none(), st.sampled_from(SIZES)), max_size=3))
        while np.prod([size or 4 for size in shape]) > 200:
            shape.pop()
        fields.append(Field(name, tuple(shape), draw(st.sampled_from(DTYPES))))
    return Schema(fields)


def values(field: Field) -> st.SearchStrategy[Any]:
    """Values of a field; the sizes that vary are from 0 to 4."""
    items = TEXT if field.dtype == "string" else st.binary(max_size=40)
    if not field.is_numeric and field.shape == ():
        return items
    sizes = [st.integers(0, 4) if size is None else st.just(size) for size in field.shape]
    return st.tuples(*sizes).flatmap(
        lambda shape: (
            numpy_strategies.arrays(field.numpy_dtype, shape)
            if field.is_numeric
            else numpy_strategies.arrays(object, shape, elements=items, fill=st.nothing())
        )
    )


def exactly(value: Any) -> Any:
    """A value with its type, shape and bits, so that NaN equals NaN and -0.0 not 0.0."""
    if isinstance(value, str | bytes):
        return value
    array = np.asarray(value)
    content = array.tolist() if array.dtype == object else array.tobytes()
    return array.dtype, array.shape, content


@st.composite
def sets(draw: st.DrawFn) -> tuple[Schema, list[dict[str, Any]]]:
    schema = draw(schemas())
    row = st.tuples(*(values(field) for field in schema.fields))
    return schema, [dict(zip(schema, one, strict=True)) for one in draw(st.lists(row, max_size=12))]


@given(
    sets(),
    st.sampled_from([1, 100, 1 << 20]),
    st.sampled_from([None, "lz4", "zstd"]),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_what_was_written_is_read(drawn, shard_bytes, compression, batch_size, seed):
    schema, rows = drawn
    written = [{name: exactly(value) for name, value in row.items()} for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records"
        with RecordWriter(path, schema, shard_bytes=shard_bytes, compression=compression) as writer:
            for at, row in enumerate(rows):
                writer.append(row if at % 2 else tuple(row.values()))
        records = Records(path)
        assert (records.schema, len(records)) == (schema, len(rows))
        # Row by row, by a view of half the rows, and as any other reader of Arrow sees them.
        stored = [records.rows([at])[0] for at in range(len(rows))]
        half = records.select(np.arange(0, len(rows), 2)).rows(np.arange((len(rows) + 1) // 2))
        for got, wanted in ((stored, written), (list(half), written[::2])):
            assert [{name: exactly(row[name]) for name in row} for row in got] == wanted
        others = [pa.ipc.open_file(file).read_all() for file in sorted(path.glob("*.arrow"))]
        assert sum(table.num_rows for table in others) == len(rows)
        for field in schema.fields:
            if field.dtype in ("string", "bytes") and field.shape == ():
                column = [value for table in others for value in table[field.name].to_pylist()]
                assert column == [row[field.name] for row in written]
        # In batches of any size, shuffled, over the end of an epoch.
        if rows:
            fed: list[dict[str, Any]] = []
            feed = RecordFeed(
                records,
                batch_size,
                seed=seed,
                stop=2 * len(rows) - 1,
                prefetch=0,
                input_fn=lambda batch: fed.extend(batch) or {},
            )
            assert sum(batch.count for batch in feed) == len(fed)
            order = batch_indices(seed, len(rows), 0, 2 * len(rows) - 1)
            found = [{name: exactly(value) for name, value in row.items()} for row in fed]
            assert found == [written[at] for at in order]
        records.verify()

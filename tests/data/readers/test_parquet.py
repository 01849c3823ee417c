"""Parquet and Arrow files, by their own types."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dovetail.data.prepare import prepare
from dovetail.data.readers.arrow import Arrow
from dovetail.data.readers.parquet import Parquet
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError


def parquet(table, path):
    pq.write_table(table, path, row_group_size=3)


def arrow_file(table, path):
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def arrow_stream(table, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


WAYS = {
    "parquet": (Parquet, parquet),
    "arrow": (Arrow, arrow_file),
    "stream": (Arrow, arrow_stream),
}


@pytest.fixture(params=WAYS)
def way(request, tmp_path):
    """A reader's class, and a function that writes a table as such a file and gives its name."""
    reader, write_to = WAYS[request.param]

    def write(table, name="a"):
        path = tmp_path / f"{name}.bin"
        write_to(table if isinstance(table, pa.Table) else pa.table(table), path)
        return str(path)

    return reader, write


def read(reader, *files):
    bound = reader.for_files(files)
    rows = [bound.schema.convert(row, name) for name in files for row in bound(name)]
    values = [{k: getattr(v, "tolist", lambda v=v: v)() for k, v in row.items()} for row in rows]
    return str(bound.schema), values


def refusal(reader, *files):
    with pytest.raises(DataError) as caught:
        read(reader, *files)
    return str(caught.value)


def test_rows_come_back_as_they_were_written(way):
    reader, write = way
    table = pa.table(
        {
            "i": pa.array(range(7), pa.int16()),
            "f": [n / 10 for n in range(7)],
            "t": list("abcdeäg"),
            "b": [bytes([n]) for n in range(7)],
            "l": [list(range(n)) for n in range(7)],
            "v": pa.array([[n, n] for n in range(7)], pa.list_(pa.uint8(), 2)),
        }
    )
    path = write(table)
    schema, rows = read(reader(), path)
    assert schema == (
        "'i': int16 []; 'f': float64 []; 't': string []; 'b': bytes []; 'l': int64 [None]; "
        "'v': uint8 [2]"
    )
    assert rows == table.to_pylist()
    unbound = list(reader()(path))
    assert [row["i"] for row in unbound] == list(range(7))


def test_columns_are_chosen_and_labels_are_coded_over_all_files(way):
    reader, write = way
    kinds = pa.array(["b", "c"]).dictionary_encode()
    one, two = write({"x": [1, 2], "k": kinds}, "1"), write({"k": ["a"], "x": [3]}, "2")
    bound = reader(columns=["x"], label="k").for_files([one, two])
    bound = pickle.loads(pickle.dumps(bound))
    assert bound.metadata == {"classes": ["a", "b", "c"]}
    rows = [row for name in (one, two) for row in bound(name)]
    assert [(int(row["x"]), int(row["label"])) for row in rows] == [(1, 1), (2, 2), (3, 0)]
    assert read(reader(label="x"), one)[0] == "'label': int64 []; 'k': string []"


def test_parts_of_a_struct_are_columns(way):
    reader, write = way
    images = [{"bytes": b"1", "path": None}, {"bytes": b"2", "path": "x"}]
    path = write({"image": images, "label": [0, 1]})
    _, rows = read(reader(columns=["image.bytes", "label"]), path)
    assert rows == [{"image.bytes": b"1", "label": 0}, {"image.bytes": b"2", "label": 1}]
    assert "row 0: column 'image.path' is empty" in refusal(reader(), path)


def test_a_null_is_refused_by_row_and_column_or_filled(way):
    reader, write = way
    path = write({"x": pa.array([1, 2, 3, 4, None], pa.int32()), "t": [*"abcd", None]})
    message = refusal(reader(), path)
    assert message.startswith(f"{path}, row 4: column 'x' is empty there (null)")
    assert "column 't' is empty" in refusal(reader(fill=0), path)
    assert read(reader(fill={"x": -1, "t": "?"}), path)[1][4] == {"x": -1, "t": "?"}
    assert "the fill value 0.5 is none of type int32" in refusal(reader(fill={"x": 0.5}), path)
    nested = write({"l": [[1], [2, None]]}, "nested")
    assert "row 1: column 'l' is empty" in refusal(reader(), nested)
    assert "none of type" in refusal(reader(fill=0), nested)


def test_an_empty_label_may_be_filled_by_a_class_of_its_own(way):
    reader, write = way
    path = write({"k": ["b", None, "a"]})
    bound = reader(label="k", fill={"k": "?"}).for_files([path])
    assert bound.metadata == {"classes": ["?", "a", "b"]}
    assert [int(row["label"]) for row in bound(path)] == [2, 0, 1]


def test_types_widen_over_files_or_are_refused_with_both(way):
    reader, write = way
    one, two = write({"x": pa.array([1], pa.int8())}, "1"), write({"x": [0.5]}, "2")
    three = write({"x": ["a"]}, "3")
    assert read(reader(), one, two) == ("'x': float64 []", [{"x": 1.0}, {"x": 0.5}])
    message = refusal(reader(), one, three)
    assert message.startswith(f"{three}: column 'x' holds string [], but in '{one}' int8 []")


def test_files_of_other_columns_are_refused(way):
    reader, write = way
    one, two = write({"x": [1], "y": [1]}, "1"), write({"x": [1], "z": [1]}, "2")
    message = refusal(reader(), one, two)
    assert "It lacks ['y']. It has ['z'], which the first has not" in message
    assert len(read(reader(columns=["x"]), one, two)[1]) == 2


def test_rounding_is_done_only_where_it_is_asked_for(way):
    reader, write = way
    path = write({"x": [0.1, 2.0], "l": [[0.1], []]})
    schema = Schema([Field("x", (), "float32")])
    assert "would round it" in refusal(reader(schema=schema), path)
    _, rows = read(reader(schema=schema, floats="float32"), path)
    assert [row["x"] for row in rows] == [float(np.float32(0.1)), 2.0]
    kept, rows = read(reader(floats="float32"), path)
    assert kept == "'x': float32 []; 'l': float32 [None]"
    assert rows[0]["l"] == [float(np.float32(0.1))]
    assert "too large" in refusal(reader(floats="float32"), write({"x": [1e300]}, "big"))


def test_lists_are_folded_to_the_schemas_sizes(way):
    reader, write = way
    path = write({"x": [[1, 2, 3, 4, 5, 6]]})
    schema = Schema([Field("x", (2, 3), "int8")])
    assert read(reader(schema=schema), path)[1] == [{"x": [[1, 2, 3], [4, 5, 6]]}]
    short = write({"x": [[1, 2, 3]]}, "short")
    assert "row 0" not in refusal(reader(schema=schema), short)
    assert "'x': int8 [2, 3] was expected; got shape [3]" in refusal(reader(schema=schema), short)


def test_times_are_numbers_whose_unit_is_kept(way):
    reader, write = way
    path = write({"when": pa.array([5, 6], pa.timestamp("us"))})
    bound = reader().for_files([path])
    assert bound.metadata == {"units": {"when": "timestamp[us]"}}
    assert [int(row["when"]) for row in bound(path)] == [5, 6]


def test_an_unstorable_column_is_named_unless_left_out(way):
    reader, write = way
    path = write({"x": [1], "n": pa.nulls(1)})
    assert f"{path}: column 'n' is of type null" in refusal(reader(), path)
    assert read(reader(columns=["x"]), path)[1] == [{"x": 1}]


@pytest.mark.parametrize("kind", [Parquet, Arrow])
@pytest.mark.parametrize(
    "content", [b"", b"no such thing, but long enough", b"ARROW1\0\0", b"PAR1"]
)
def test_a_file_that_is_something_else_is_named(tmp_path, kind, content):
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    assert refusal(kind(), str(path)).startswith(
        f"{path}: the file can't be read as {kind.__name__}"
    )


def test_a_file_cut_short_is_named(way):
    reader, write = way
    path = write({"x": list(range(1000)), "t": ["some text"] * 1000})
    bound = reader().for_files([path])
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="can't be read as"):
        list(bound(path))


def test_prepared_records_hold_the_tables_rows(way, tmp_path):
    reader, write = way
    path = write({"x": [[1.5], [2.5, 3.5]], "label": [0, 1]})
    bound = reader().for_files([path])
    records = prepare(path, tmp_path / "records", bound.schema, reader(), workers=1)
    assert [row.tolist() for row in records.gather(np.arange(2))["x"]] == [[1.5], [2.5, 3.5]]

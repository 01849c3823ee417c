"""One bad file among good ones: the good ones give the types, and the bad one is named."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dovetail.data.prepare import prepare
from dovetail.data.readers.csv import Csv
from dovetail.data.readers.parquet import Parquet
from dovetail.data.readers.text_lines import TextLines
from dovetail.errors import DataError


def csv_file(path, x, kind):
    path.write_text(f"x,kind\n{x},{kind}\n")


def parquet_file(path, x, kind):
    pq.write_table(pa.table({"x": [x], "kind": [kind]}), path)


def text_file(path, x, kind):
    path.write_text(f"{kind}\t{x}\n")


WAYS = {
    "csv": (Csv(label="kind"), csv_file, "x,kind\n7,zebra\nx,y,z\n"),
    "csv_columns": (Csv(label="kind"), csv_file, "x,kin\n7,zebra\n"),
    "csv_empty": (Csv(label="kind"), csv_file, ""),
    "csv_bytes": (Csv(label="kind"), csv_file, "x,kind\n7,\udcff\n"),
    "csv_null": (Csv(label="kind"), csv_file, "x,kind\n,a\n"),
    "parquet": (Parquet(label="kind"), parquet_file, "PAR1"),
    "text_lines": (TextLines(separator="\t"), text_file, "zebra\t7\nno label\n"),
}


# The label is looked for in the columns of the first file.
CASES = [(way, place) for way in WAYS for place in range(3) if (way, place) != ("csv_columns", 0)]


@pytest.mark.parametrize(("way", "place"), CASES)
def test_a_bad_file_is_left_out_and_changes_nothing_of_the_others(tmp_path, way, place):
    reader, write, bad = WAYS[way]
    names = [tmp_path / f"{number}.bin" for number in range(3)]
    for number, name in enumerate(names):
        write(name, number, "ab"[number % 2])
    kept = [name for number, name in enumerate(names) if number != place]
    alone = prepare(kept, tmp_path / "alone", None, reader, workers=1)
    names[place].write_bytes(bad.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=str(names[place])):
        prepare(names, tmp_path / "strict", None, reader, workers=1)
    records = prepare(names, tmp_path / "records", None, reader, workers=1, on_error="skip")
    assert (records.schema, records.metadata) == (alone.schema, alone.metadata)
    both = np.arange(2)
    assert {k: list(v) for k, v in records.gather(both).items()} == {
        k: list(v) for k, v in alone.gather(both).items()
    }


def test_a_file_that_other_types_came_to_is_refused_as_it_is_read(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": pa.array([1], pa.int8())}), path)
    bound = Parquet().for_files([str(path)])
    pq.write_table(pa.table({"x": pa.array([1], pa.int64())}), path)
    with pytest.raises(DataError, match="holds int64 .*int8 .* changed since"):
        list(bound(str(path)))


def test_parquet_files_of_other_types_are_left_out_by_the_first_ones(tmp_path):
    for number, value in enumerate([1, "a", 2]):
        pq.write_table(pa.table({"x": [value]}), tmp_path / f"{number}.parquet")
    records = prepare(
        tmp_path / "*.parquet", tmp_path / "r", None, Parquet(), workers=1, on_error="skip"
    )
    assert records.gather(np.arange(len(records)))["x"].tolist() == [1, 2]

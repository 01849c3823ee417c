"""Records are Arrow files: pyarrow, pandas and duckdb read them without Dovetail."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from dovetail.data.record_writer import RecordWriter
from dovetail.data.schema import Field, Schema

SCHEMA = Schema(
    [
        Field("image", (2, 3), "uint8"),
        Field("label", (), "int64"),
        Field("flag", (), "bool"),
        Field("tokens", (None,), "int32"),
        Field("grid", (None, 2), "float32"),
        Field("text", (), "string"),
        Field("raw", (), "bytes"),
        Field("words", (None,), "string"),
    ]
)


@pytest.fixture(params=[None, "lz4", "zstd"])
def place(request, tmp_path):
    with RecordWriter(
        tmp_path / "r", SCHEMA, shard_bytes=1500, compression=request.param
    ) as writer:
        for number in range(50):
            writer.append(
                {
                    "image": np.full((2, 3), number, np.uint8),
                    "label": number,
                    "flag": number % 2 == 0,
                    "tokens": [number] * (number % 3),
                    "grid": np.full((number % 3, 2), 0.5),
                    "text": f"text {number}",
                    "raw": b"\xff" * number,
                    "words": np.array(["é"] * (number % 2), object),
                }
            )
    return tmp_path / "r"


def test_pyarrow_reads_the_folder_as_one_data_set_without_dovetail(place):
    # In a process that has not Dovetail's modules at all.
    code = (
        "import pickle, sys, pyarrow.dataset as ds\n"
        "data = ds.dataset(sys.argv[1], format='arrow', exclude_invalid_files=True)\n"
        "table = data.to_table(columns=['label', 'text', 'tokens', 'raw', 'words', 'flag'])\n"
        "assert not any(name.startswith('dovetail') for name in sys.modules)\n"
        "sys.stdout.buffer.write(pickle.dumps(table.to_pydict()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(place)], capture_output=True, check=True, cwd=place
    )
    found = pickle.loads(done.stdout)
    assert found["label"] == list(range(50))
    assert found["text"][7] == "text 7"
    assert found["tokens"][5] == [5, 5]
    assert found["raw"][3] == b"\xff" * 3
    assert found["words"][1] == ["é"]
    assert found["flag"][:3] == [1, 0, 1]


def table(place):
    dataset = pytest.importorskip("pyarrow.dataset")
    return dataset.dataset(sorted(map(str, place.glob("*.arrow"))), format="arrow")


def test_pandas_reads_every_field(place):
    pytest.importorskip("pandas")
    frame = table(place).to_table().to_pandas()
    assert list(frame.columns) == list(SCHEMA)
    assert frame["label"].tolist() == list(range(50))
    assert frame["image"][9].tolist() == [9] * 6
    assert frame["grid"][2]["values"].tolist() == [0.5] * 4
    assert list(frame["grid"][2]["shape"]) == [2, 2]
    assert frame["text"].str.len().max() == 7


def test_duckdb_queries_every_field(place):
    duckdb = pytest.importorskip("duckdb")
    records = table(place)
    with duckdb.connect() as connection:
        connection.register("records", records)
        query = connection.sql(
            "select sum(label), sum(len(tokens)), max(len(text)), sum(octet_length(raw)), "
            "sum(len(words)), sum(list_sum(image::int[])), sum(flag), sum(len(grid.values)) "
            "from records where label < 10"
        )
        found = query.fetchall()[0]
    few = range(10)
    tokens = sum(number % 3 for number in few)
    assert found == (45, tokens, 6, 45, 5, 270, 5, 2 * tokens)

"""A record set appears whole or not at all, and the same rows give the same bytes."""

import os
import subprocess
import sys

import numpy as np
import pytest

from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

SCHEMA = Schema([Field("x", (10,), "int64"), Field("name", (), "string")])


def write(place, count=100, **options):
    with RecordWriter(place, SCHEMA, **options) as writer:
        for number in range(count):
            writer.append({"x": np.full(10, number), "name": f"é{number}"})
    return {path.name: path.read_bytes() for path in place.iterdir()}


def test_the_same_rows_give_the_same_bytes(tmp_path):
    first = write(tmp_path / "a", shard_bytes=1000, metadata={"b": 1, "a": 2})
    assert first == write(tmp_path / "b", shard_bytes=1000, metadata={"a": 2, "b": 1})
    assert len(first) > 5


def test_shards_are_about_as_large_as_asked(tmp_path):
    write(tmp_path / "a", shard_bytes=1000)
    rows = [shard.rows for shard in Records(tmp_path / "a").manifest.shards]
    assert sum(rows) == 100
    assert {10, 11} >= set(rows[:-1])


def test_a_row_larger_than_a_shard_gets_its_own(tmp_path):
    write(tmp_path / "a", count=3, shard_bytes=1)
    assert [shard.rows for shard in Records(tmp_path / "a").manifest.shards] == [1, 1, 1]


def test_nothing_is_left_of_a_writer_that_failed(tmp_path):
    def fails():
        with RecordWriter(tmp_path / "a", SCHEMA) as writer:
            writer.append((np.zeros(10), "x"))
            writer.append((np.zeros(11), "x"), "file.png")

    with pytest.raises(DataError, match=r"file\.png"):
        fails()
    assert os.listdir(tmp_path) == []


def test_a_buffer_that_is_used_again_does_not_change_rows_before(tmp_path):
    buffer = np.zeros(10, np.int64)
    with RecordWriter(tmp_path / "a", SCHEMA) as writer:
        for number in range(3):
            buffer[:] = number
            writer.append((buffer, ""))
    assert Records(tmp_path / "a").gather([0, 1, 2])["x"][:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", ["manifest.json", "other.txt"])
def test_a_folder_that_holds_something_is_left_alone(tmp_path, content):
    (tmp_path / content).touch()
    with pytest.raises(DataError, match="already holds"):
        RecordWriter(tmp_path, SCHEMA)
    assert os.listdir(tmp_path) == [content]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a")
    assert len(Records(tmp_path / "a")) == 100


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(DataError, match="is a file"):
        RecordWriter(tmp_path / "a", SCHEMA)
    with pytest.raises(DataError, match="can't be written"):
        RecordWriter(tmp_path / "a" / "b", SCHEMA)


def test_two_writers_of_one_folder_do_not_mix(tmp_path):
    with RecordWriter(tmp_path / "a", SCHEMA) as writer:
        writer.append((np.zeros(10), "x"))
        with pytest.raises(DataError, match="being written by another process"):
            RecordWriter(tmp_path / "a", SCHEMA)
    assert len(Records(tmp_path / "a")) == 1


def test_a_killed_writer_leaves_nothing_that_is_taken_for_whole(tmp_path):
    code = (
        "import os, sys; from dovetail.data.record_writer import RecordWriter;"
        "from dovetail.data.schema import Field, Schema;"
        "w = RecordWriter(sys.argv[1], Schema([Field('x', (), 'int8')]), shard_bytes=1);"
        "[w.append((n,)) for n in range(9)]; os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False)
    assert not (tmp_path / "a").exists()
    with pytest.raises(DataError, match="no such folder"):
        Records(tmp_path / "a")
    [aside] = list(tmp_path.iterdir())
    with pytest.raises(DataError, match="not a whole set"):
        Records(aside)
    write(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]


def test_metadata_may_be_added_until_the_end(tmp_path):
    with RecordWriter(tmp_path / "a", SCHEMA, metadata={"from": "test"}) as writer:
        writer.metadata["classes"] = ["a", "b"]
    assert Records(tmp_path / "a").metadata == {"from": "test", "classes": ["a", "b"]}


def test_a_closed_writer_takes_no_rows(tmp_path):
    with RecordWriter(tmp_path / "a", SCHEMA) as writer:
        pass
    with pytest.raises(DataError, match="closed"):
        writer.append((np.zeros(10), "x"))


@pytest.mark.parametrize("keep", [0, 1, 15, 20, 47, 99])
def test_rows_that_are_taken_back_might_never_have_been(tmp_path, keep):
    whole = write(tmp_path / "a", shard_bytes=1000)
    with RecordWriter(tmp_path / "b", SCHEMA, shard_bytes=1000) as writer:
        for number in range(keep):
            writer.append({"x": np.full(10, number), "name": f"é{number}"})
        for number in range(50):
            writer.append({"x": np.full(10, 7), "name": "wrong" * number})
        writer.rewind(keep)
        assert writer.rows == keep
        for number in range(keep, 100):
            writer.append({"x": np.full(10, number), "name": f"é{number}"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()} == whole

"""Rows are added to a set in one step and once, and what was there stays as it was."""

import os
import shutil
import warnings

import pytest

from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

SCHEMA = Schema([Field("n", (), "int64"), Field("name", (), "string")])


def write(place, numbers, **options):
    with RecordWriter(place, SCHEMA, shard_bytes=200, **options) as writer:
        for number in numbers:
            writer.append((number, f"name {number}"))


def numbers(records):
    return records.gather(range(len(records)))["n"].tolist()


def content(place):
    return {file.name: file.read_bytes() for file in place.iterdir()}


@pytest.fixture
def place(tmp_path):
    write(tmp_path / "r", range(30), metadata={"classes": ["a", "b"]})
    return tmp_path / "r"


def test_rows_are_added_behind_those_that_are_there(place):
    before = content(place)
    write(place, range(30, 50), append=True)
    records = Records(place)
    assert numbers(records) == list(range(50))
    assert records.metadata == {"classes": ["a", "b"]}
    records.verify()
    after = content(place)
    for name, bytes_before in before.items():
        assert name == "manifest.json" or after[name] == bytes_before
    assert [path.name for path in place.parent.iterdir()] == ["r"]


def test_a_reader_that_is_open_goes_on_with_the_rows_it_knows(place):
    old = Records(place)
    write(place, range(30, 50), append=True)
    assert numbers(old) == list(range(30))
    assert Records(place).fingerprint != old.fingerprint


def test_nothing_is_seen_of_rows_that_are_not_all_there(place):
    before = content(place)
    writer = RecordWriter(place, SCHEMA, shard_bytes=200, append=True)
    for number in range(30, 50):
        writer.append((number, ""))
    assert content(place) == before
    writer.abort()
    assert content(place) == before
    write(place, range(30, 40), append=True)
    assert numbers(Records(place)) == list(range(40))


def test_a_kill_before_the_manifest_leaves_the_old_rows_and_the_next_addition_works(
    place, monkeypatch
):
    def killed(*_):
        os._exit(9)

    child = os.fork()
    if not child:
        monkeypatch.setattr("dovetail.data.addition.sync_directory", killed)
        write(place, range(100, 120), append=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert numbers(Records(place)) == list(range(30))
    assert len(list(place.glob("*.arrow"))) > len(Records(place).manifest.shards)
    write(place, range(30, 35), append=True)
    records = Records(place)
    assert numbers(records) == list(range(35))
    records.verify()
    assert len(list(place.glob("*.arrow"))) == len(records.manifest.shards)


@pytest.mark.parametrize("name", [None, "monday"])
def test_an_addition_killed_at_any_step_and_given_again_adds_its_rows_once(place, dies_at, name):
    def add():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(place, range(30, 50), append=True, addition=name)

    shutil.copytree(place, place.parent / "before")
    add()
    whole = content(place)
    step, rows = 0, set()
    while True:
        shutil.rmtree(place)
        shutil.copytree(place.parent / "before", place)
        if not dies_at(add, step):
            break
        rows.add(len(Records(place)))
        add()
        assert content(place) == whole
        assert sorted(path.name for path in place.parent.iterdir()) == ["before", "r"]
        step += 1
    assert rows == {30, 50}
    assert step > 15
    assert content(place) == whole


def test_the_same_rows_are_added_again_only_under_a_name(place):
    write(place, range(30, 50), append=True)
    write(place, [7], append=True)
    before = content(place)
    with pytest.warns(UserWarning, match="The 20 rows to add to .* are in it already, in shard"):
        write(place, range(30, 50), append=True)
    assert content(place) == before
    write(place, range(30, 50), append=True, addition="once more")
    write(place, range(30, 50), append=True, addition="and again")
    assert numbers(Records(place))[51:] == [*range(30, 50)] * 2


def test_an_addition_of_a_name_that_is_there_takes_no_rows(place):
    write(place, [30], append=True, addition="monday")
    before = content(place)
    with RecordWriter(place, SCHEMA, append=True, addition="monday") as writer:
        assert writer.added_before
        writer.append((31, "another"))
        assert writer.rows == 31
    assert content(place) == before
    assert [tuple(added) for added in Records(place).manifest.additions] == [
        ("name:monday", len(Records(place).manifest.shards) - 1, 1)
    ]


def test_an_addition_without_rows_is_remembered_by_its_name_only(place):
    before = content(place)
    write(place, [], append=True)
    assert content(place) == before
    write(place, [], append=True, addition="monday")
    with RecordWriter(place, SCHEMA, append=True, addition="monday") as writer:
        assert writer.added_before


@pytest.mark.parametrize("options", [{"addition": "x"}, {"addition": "", "append": True}])
def test_a_name_is_for_additions(place, options):
    with pytest.raises(DataError, match="addition is a name for rows that are added"):
        write(place, [1], **options)


def test_two_do_not_add_at_once(place):
    with RecordWriter(place, SCHEMA, append=True) as writer:
        writer.append((30, ""))
        with pytest.raises(DataError, match="is being written by another process"):
            RecordWriter(place, SCHEMA, append=True)
    assert len(Records(place)) == 31


def test_compressed_sets_stay_so(tmp_path):
    write(tmp_path / "r", range(9), compression="lz4")
    write(tmp_path / "r", range(9, 12), append=True)
    records = Records(tmp_path / "r")
    assert numbers(records) == list(range(12))
    assert all(shard.row_blocks for shard in records.manifest.shards)
    with pytest.raises(DataError, match="compression: zstd here, lz4 there"):
        RecordWriter(tmp_path / "r", SCHEMA, append=True, compression="zstd")


def test_metadata_may_say_more_but_nothing_else(place):
    write(place, [30], append=True, metadata={"source": "web", "classes": ["a", "b"]})
    assert Records(place).metadata == {"classes": ["a", "b"], "source": "web"}
    with pytest.raises(DataError, match=r"metadata 'classes': \['c'\] here, \['a', 'b'\] there"):
        RecordWriter(place, SCHEMA, append=True, metadata={"classes": ["c"]})


def test_rows_of_another_schema_are_refused_and_nothing_is_left(place):
    before = content(place)
    other = Schema([Field("n", (), "int32"), Field("name", (), "string")])
    with pytest.raises(DataError, match=r"schema: 'n': int32 \[\] here, int64 \[\] there"):
        RecordWriter(place, other, append=True)
    with pytest.raises(DataError, match="the fields' order is"):
        RecordWriter(place, Schema(reversed(SCHEMA.fields)), append=True)
    assert content(place) == before
    assert [path.name for path in place.parent.iterdir()] == ["r"]


def test_there_must_be_a_set_to_add_to(tmp_path):
    with pytest.raises(DataError, match="There are no records"):
        RecordWriter(tmp_path / "none", SCHEMA, append=True)
    assert not list(tmp_path.iterdir())


def test_no_rows_added_change_nothing_but_are_no_error(place):
    before = numbers(Records(place))
    write(place, [], append=True)
    assert numbers(Records(place)) == before

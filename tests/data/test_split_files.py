"""The parts of a division on disk: every row in its part, for ever, and all parts or none."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.data.split_files import write_split
from dovetail.data.splits import part_of
from dovetail.errors import DataError

SCHEMA = Schema(
    [Field("n", (), "int64"), Field("who", (), "string"), Field("x", (None, 2), "float32")]
)
SHARES = {"train": 0.6, "test": 0.3}


def write(place: Path, rows: range, **options) -> Records:
    with RecordWriter(place, SCHEMA, shard_bytes=500, **options) as writer:
        for n in rows:
            writer.append((n, f"person {n // 3}", np.full((n % 4, 2), n, np.float32)))
    return Records(place)


def numbers(path: Path) -> list[int]:
    records = Records(path)
    return records.gather(range(len(records)))["n"].tolist()


@pytest.mark.parametrize("by", [None, "who"])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_parts_hold_the_rows_that_their_hash_says(
    tmp_path: Path, by: str | None, compression: str | None
) -> None:
    whole = write(tmp_path / "r", range(200), metadata={"classes": ["a"]}, compression=compression)
    parts = write_split(whole, tmp_path / "parts", SHARES, by=by, seed=3)
    assert sorted(os.listdir(tmp_path / "parts")) == ["test", "train"]
    for name, path in parts.items():
        expected = [
            n for n in range(200) if part_of(f"person {n // 3}" if by else n, SHARES, 3) == name
        ]
        assert numbers(path) == expected
        part = Records(path)
        part.verify()
        assert part.schema == SCHEMA
        assert part.manifest.compression == compression
        assert part.metadata["classes"] == ["a"]
        assert part.metadata["split"] == {
            "part": name,
            "of": whole.fingerprint,
            "by": by,
            "seed": 3,
            "into": SHARES,
        }
        last = part.gather([len(part) - 1])
        n = expected[-1]
        np.testing.assert_array_equal(last["x"][0], np.full((n % 4, 2), n, np.float32))
    assert sorted(os.listdir(tmp_path)) == ["parts", "r"]


@pytest.mark.parametrize("by", [None, "who"])
def test_rows_stay_in_their_part_when_others_are_added(tmp_path: Path, by: str | None) -> None:
    before = write_split(write(tmp_path / "r", range(100)), tmp_path / "a", SHARES, by=by)
    more = write(tmp_path / "r", range(100, 180), append=True)
    after = write_split(more, tmp_path / "b", SHARES, by=by)
    for name in SHARES:
        old = numbers(before[name])
        assert numbers(after[name])[: len(old)] == old
        assert min(numbers(after[name])[len(old) :]) >= 100


def test_a_view_s_rows_go_where_they_go_in_the_whole(tmp_path: Path) -> None:
    whole = write(tmp_path / "r", range(100))
    some = whole.select(range(0, 100, 7))
    parts = some.split_by_hash(None, SHARES)
    for name, part in whole.split_by_hash(None, SHARES).items():
        assert set(parts[name].numbers) == set(part.numbers) & set(some.numbers)


def test_a_kill_at_any_step_leaves_no_parts_or_all(tmp_path: Path, dies_at) -> None:
    whole = write(tmp_path / "r", range(60))
    step = 0
    place = tmp_path / "parts0"
    while dies_at(partial(write_split, whole, place, SHARES), step):
        if place.exists():
            assert sum(len(Records(place / name)) for name in SHARES) > 40
        else:
            write_split(whole, place, SHARES)
            assert not place.with_name(f".{place.name}.partial").exists()
        step += 1
        place = tmp_path / f"parts{step}"
    assert step > 15


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    whole = write(tmp_path / "r", range(9))
    write_split(whole, tmp_path / "parts", SHARES)
    for place in ("parts", "r"):
        before = sorted(os.listdir(tmp_path / place))
        with pytest.raises(DataError, match="already holds"):
            write_split(whole, tmp_path / place, SHARES)
        assert sorted(os.listdir(tmp_path / place)) == before


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", ".hidden"])
def test_a_part_is_named_as_a_folder_may_be(tmp_path: Path, name: str) -> None:
    whole = write(tmp_path / "r", range(9))
    with pytest.raises(DataError, match="name is that of a folder"):
        write_split(whole, tmp_path / "parts", {name: 0.5})
    assert os.listdir(tmp_path) == ["r"]


@pytest.mark.parametrize("shares", [{"a": -1.0}, {"a": float("nan")}, {"a": 0.9, "b": 0.2}])
def test_shares_that_make_no_sense_are_refused(tmp_path: Path, shares: dict[str, float]) -> None:
    with pytest.raises(DataError, match="shares above 0 that sum to at most 1"):
        write_split(write(tmp_path / "r", range(9)), tmp_path / "parts", shares)
    with pytest.raises(DataError, match="no field 'whom'.*Did you mean 'who'"):
        write_split(Records(tmp_path / "r"), tmp_path / "parts", SHARES, by="whom")
    assert os.listdir(tmp_path) == ["r"]

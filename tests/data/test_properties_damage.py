"""Damage to any byte of a record set is met before a wrong value is used.

A small set, byte after byte: `--soak` tries every position, a run without it some hundreds, spread
over all the files. A larger set, whose shards are of several blocks, at random positions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.feed import RecordFeed
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

SCHEMA = Schema(
    [
        Field("x", (3,), "int16"),
        Field("name", (), "string"),
        Field("points", (None, 2), "float32"),
        Field("files", (2,), "bytes"),
    ]
)
ROWS = 5
QUICK = 250  # positions tried for each kind of file


def row(number: int) -> dict[str, object]:
    points = np.full((number, 2), number, np.float32)
    return {"x": [number] * 3, "name": "ab" * number, "points": points, "files": [b"c", b"d"]}


@pytest.fixture(scope="module", params=[None, "lz4", "zstd"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards and a manifest of some kilobytes together."""
    path = tmp_path_factory.mktemp("small") / "records"
    with RecordWriter(
        path, SCHEMA, shard_bytes=150, metadata={"scale": 0.5}, compression=request.param
    ) as writer:
        for number in range(ROWS):
            writer.append(row(number))
    assert len(Records(path).manifest.shards) > 1
    read(path)
    return path


def read(path: Path) -> None:
    """Take every row, one after the other: each is right, or an error."""
    records = Records(path)
    assert len(records) == ROWS
    for number in range(ROWS):
        got, wanted = records.rows([number])[0], row(number)
        assert got["x"].tolist() == wanted["x"]
        assert got["name"] == wanted["name"]
        np.testing.assert_array_equal(got["points"], wanted["points"])
        assert got["files"].tolist() == wanted["files"]


@contextmanager
def content(path: Path) -> Iterator[bytes]:
    """A file's bytes; what is written to it in the block is undone."""
    kept = path.read_bytes()
    try:
        yield kept
    finally:
        path.write_bytes(kept)


def positions(count: int, soak: bool) -> range:
    return range(0, count, 1 if soak else max(count // QUICK, 1))


FILES = pytest.mark.parametrize("file", ["manifest.json", "shard-00000.arrow", "shard-00001.arrow"])


@FILES
def test_a_flipped_byte_anywhere_is_met_before_its_row(place: Path, file: str, soak: bool):
    with content(place / file) as whole:
        for at in positions(len(whole), soak):
            for flip in (1, 128, at % 255 + 1) if soak else (at % 255 + 1,):
                damaged = bytearray(whole)
                damaged[at] ^= flip
                (place / file).write_bytes(damaged)
                with pytest.raises(DataError, match=f"{file}.*(damaged|format version)"):
                    read(place)


@FILES
def test_a_file_cut_short_or_grown_anywhere_is_met_at_once(place: Path, file: str, soak: bool):
    with content(place / file) as whole:
        for size in positions(len(whole), soak):
            (place / file).write_bytes(whole[:size])
            with pytest.raises(DataError, match=f"{file}.*(cut short|damaged)"):
                Records(place)
        for more in (b"\0", b"\n", whole):
            (place / file).write_bytes(whole + more)
            with pytest.raises(DataError, match=f"{file}.*(longer|damaged)"):
                Records(place)


@pytest.mark.parametrize("new", [b"e", b"-", b".", b"9", b'"', b"}", b"\\", b"\xff"])
def test_no_other_letter_makes_another_manifest(place: Path, new: bytes, soak: bool):
    with content(place / "manifest.json") as whole:
        for at in positions(len(whole), soak):
            if whole[at : at + 1] != new:
                (place / "manifest.json").write_bytes(whole[:at] + new + whole[at + 1 :])
                with pytest.raises(DataError, match="manifest.json was damaged|format version"):
                    Records(place)


def test_a_digit_that_became_an_e_is_damage_as_any_other(place: Path):
    with content(place / "manifest.json") as whole:
        at = whole.index(b'"bytes": ') + len(b'"bytes": ') + 1
        (place / "manifest.json").write_bytes(whole[:at] + b"e99999," + whole[at + 7 :])
        with pytest.raises(DataError, match="manifest.json was damaged"):
            Records(place)


def test_files_that_changed_places_are_met(place: Path):
    one, other = place / "shard-00000.arrow", place / "shard-00001.arrow"
    with content(one) as first, content(other) as second:
        one.write_bytes(second)
        other.write_bytes(first)
        with pytest.raises(DataError, match=r"cut short|longer|damaged"):
            read(place)


@given(st.data())
def test_a_feed_gives_right_batches_up_to_the_damage_and_then_the_error(data):
    """Shards of several blocks, of which only those that are touched are checked."""
    count = 3000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records"
        schema = Schema([Field("x", (32,), "int64"), Field("label", (1,), "int64")])
        with RecordWriter(path, schema, shard_bytes=400_000) as writer:
            for number in range(count):
                writer.append((np.full(32, number), number))
        victim = data.draw(st.sampled_from(sorted(path.glob("*.arrow"))))
        damaged = bytearray(victim.read_bytes())
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] ^= data.draw(st.integers(1, 255))
        victim.write_bytes(damaged)
        with pytest.raises(DataError, match=f"{victim.name} is damaged"):
            take_an_epoch(path, data.draw(st.integers(0, 99)))


def take_an_epoch(path: Path, seed: int) -> None:
    records = Records(path)
    for fed in RecordFeed(records, 50, seed=seed, stop=len(records)):
        assert (fed.features["x"] == fed.labels[:, None]).all()
    records.verify()  # the byte lay where no row does

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Schema

PLACE = "demo/records/train"


def test_whole_records_are_said_to_be_whole(run: Any, shop: Path) -> None:
    ran = run("records", "verify", PLACE)
    assert (ran.code, f"{PLACE} is whole: 24 records, 1 shard" in ran.out) == (0, True)
    found = json.loads(run("records", "verify", PLACE, "--json").out)
    assert found["fingerprint"] == Records(PLACE).fingerprint
    assert (found["whole"], found["rows"], found["failed"]) == (True, 24, [])


def test_a_flipped_bit_is_a_mistake_that_names_the_shard_and_rows(run: Any, shop: Path) -> None:
    shard = shop / PLACE / "shard-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    ran = run("records", "verify", PLACE)
    assert ran.code == 1
    assert "shard-00000.arrow is damaged" in ran.err


def test_stats_show_ranges_means_and_counts_of_classes(run: Any, shop: Path) -> None:
    ran = run("records", "stats", PLACE)
    assert ran.code == 0
    image = next(line for line in ran.out.splitlines() if line.split()[0] == "image")
    assert image.split()[-6:] == ["0", "167", "83.5", "65.36", "0", "0"]
    assert "label: 0: 8, 1: 8, 2: 8" in ran.out
    found = json.loads(run("records", "stats", PLACE, "--json").out)
    assert found[0]["mean"] == pytest.approx(83.5)


def test_stats_name_the_classes_and_tell_the_lengths_of_text(run: Any, in_tmp: Path) -> None:
    schema = Schema.from_list(
        [
            {"name": "label", "shape": [], "dtype": "int64"},
            {"name": "x", "shape": [], "dtype": "float32"},
            {"name": "text", "shape": [], "dtype": "string"},
        ]
    )
    with RecordWriter("r", schema, metadata={"classes": ["cat", "dog"]}) as writer:
        for label, x, text in [(1, float("nan"), "a"), (1, 2.0, "bcd"), (0, 4.0, "")]:
            writer.append((label, x, text))
    out = run("records", "stats", "r").out
    assert "label: 1 dog: 2, 0 cat: 1" in out
    assert "text: lengths from 0 to 3" in out
    x = next(line for line in out.splitlines() if line.split()[0] == "x")
    assert x.split()[-6:] == ["2", "4", "3", "1", "1", "0"]


def test_head_shows_the_first_rows(run: Any, shop: Path) -> None:
    ran = run("records", "head", PLACE, "--rows", 3)
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 4
    found = json.loads(run("records", "head", PLACE, "--rows", 9, "--json").out)
    assert [row["label"] for row in found] == [[0]] * 8 + [[1]]


def test_an_action_that_there_is_not_is_wrong_usage(run: Any, shop: Path) -> None:
    assert run("records", "sats", PLACE).code == 2


def test_a_folder_that_is_no_records_is_a_mistake(run: Any, shop: Path) -> None:
    for action in ("verify", "stats", "head"):
        ran = run("records", action, "demo")
        assert (ran.code, "not a whole set of records" in ran.err) == (1, True)

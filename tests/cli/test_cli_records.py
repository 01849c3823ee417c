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


SPLIT = ("records", "split", PLACE, "--into", "fit=0.7,tune=0.3", "--output", "parts")


def test_records_are_divided_into_records(run: Any, shop: Path) -> None:
    ran = run(*SPLIT, "--seed", 1)
    assert ran.code == 0, ran.err
    fit, tune = Records("parts/fit"), Records("parts/tune")
    assert len(fit) + len(tune) == 24
    assert f"parts/fit: {len(fit)} records, {len(fit) / 24:.1%}" in ran.out
    assert (fit.metadata["split"]["part"], fit.metadata["split"]["seed"]) == ("fit", 1)
    ran = run(*SPLIT)
    assert (ran.code, "parts already holds files" in ran.err) == (1, True)


def test_rows_of_one_key_are_in_one_part_and_what_is_left_is_said(run: Any, shop: Path) -> None:
    words = ("records", "split", PLACE, "--into", "some=0.5", "--by", "label", "--output", "parts")
    found = json.loads(run(*words, "--json").out)
    rows = found["parts"]["some"]["rows"]
    assert rows % 8 == 0
    assert rows + found["left_out"] == 24
    part = Records(found["parts"]["some"]["path"])
    assert part.fingerprint == found["parts"]["some"]["fingerprint"]
    ran = run(*words[:-1], "more")
    assert f"{24 - rows} records in none of them" in ran.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("split", PLACE, "--output", "p"), 2, "--into"),
        (("split", PLACE, "--into", "a=0.5"), 2, "--output"),
        (("split", PLACE, "--into", "a", "--output", "p"), 2, "train=0.9"),
        (("split", PLACE, "--into", "a=x", "--output", "p"), 2, "train=0.9"),
        (("split", PLACE, "--into", "a=0.1,a=0.2", "--output", "p"), 2, "each part once"),
        (("split", PLACE, "--into", "a=2", "--output", "p"), 1, "shares above 0"),
        (("split", PLACE, "--into", "a=1", "--output", "p", "--by", "lable"), 1, "'label'"),
        (("stats", PLACE, "--into", "a=1"), 2, "for split, not for stats"),
    ],
)
def test_what_split_needs_is_said(
    run: Any, shop: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    ran = run("records", *words)
    assert (ran.code, message in ran.err) == (code, True), ran.err
    assert not (shop / "p").exists()

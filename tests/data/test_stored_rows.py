"""Rows come back out of a shard's file exactly as they went in, whatever the kind of field."""

from pathlib import Path

import numpy as np

from dovetail.data.record_writer import RecordWriter
from dovetail.data.schema import Schema
from dovetail.data.stored_rows import stored_rows

SCHEMA = Schema.from_list(
    [
        {"name": "scalar", "shape": [], "dtype": "float32"},
        {"name": "flag", "shape": [2], "dtype": "bool"},
        {"name": "image", "shape": [2, 3], "dtype": "uint8"},
        {"name": "tokens", "shape": [None], "dtype": "int64"},
        {"name": "grid", "shape": [None, None], "dtype": "float64"},
        {"name": "text", "shape": [], "dtype": "string"},
        {"name": "file", "shape": [], "dtype": "bytes"},
        {"name": "words", "shape": [None], "dtype": "string"},
        {"name": "pair", "shape": [2, None], "dtype": "bytes"},
    ]
)


def row(number: int) -> dict:
    random = np.random.default_rng(number)
    words = ["é" * size for size in range(number)]
    return SCHEMA.convert(
        {
            "scalar": np.float32(random.random()),
            "flag": random.random(2) > 0.5,
            "image": random.integers(0, 256, (2, 3), np.uint8),
            "tokens": random.integers(-9, 9, number),
            "grid": random.random((number, 3)),
            "text": "ü" * number,
            "file": bytes(range(number)),
            "words": np.array(words, object) if words else np.zeros(0, object),
            "pair": np.array([[b"a"] * number, [b""] * number], object).reshape(2, number),
        },
        "here",
    )


def same(one: dict, other: dict) -> bool:
    return list(one) == list(other) and all(
        type(one[name]) is type(other[name])
        and np.shape(one[name]) == np.shape(other[name])
        and np.array_equal(one[name], other[name])
        for name in one
    )


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [row(number) for number in range(5)]
    with RecordWriter(tmp_path / "a", SCHEMA) as writer:
        for one in rows:
            writer.append(one)
    back = stored_rows(tmp_path / "a" / "shard-00000.arrow", SCHEMA)
    assert len(back) == 5
    assert all(same(one, other) for one, other in zip(rows, back, strict=True))


def test_rows_of_nothing_come_back(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "a", SCHEMA) as writer:
        writer.append(row(0))
    [back] = stored_rows(tmp_path / "a" / "shard-00000.arrow", SCHEMA)
    assert same(back, row(0))

"""One file after another, in this process."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dovetail.data.reading import PART_BYTES, Job, read_here
from dovetail.data.schema import Field, Schema

BIG = Schema([Field("x", (1 << 20,), "uint8")])


def test_a_file_of_endless_rows_comes_in_parts_of_bounded_size() -> None:
    def endless(name: str) -> Iterator[tuple[np.ndarray]]:
        while True:
            yield (np.zeros(1 << 20, np.uint8),)

    parts = list(itertools.islice(read_here(Job(endless, BIG), ["a"]), 3))
    assert [len(part.rows) << 20 for part in parts] == [PART_BYTES] * 3
    assert not any(part.last for part in parts)


def test_torchs_generator_is_seeded_by_the_file_and_put_back() -> None:
    schema = Schema([Field("x", (4,), "float32")])
    job = Job(lambda name: (torch.rand(4).numpy(),), schema)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, second = ([part.rows[0]["x"] for part in read_here(job, "abc")] for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])
    assert torch.equal(torch.rand(2), expected)


def test_reading_stops_when_patience_would_not_last(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()  # each file takes one second
    monkeypatch.setattr("dovetail.data.reading.time.monotonic", lambda: float(next(clock)))
    job = Job(lambda name: (1,), Schema([Field("x", (), "int64")]))
    assert len(list(read_here(job, "a" * 100, patience=10))) == 2
    clock = itertools.count()
    assert len(list(read_here(job, "a" * 10, patience=10))) == 10

"""What changes the rows of a file changes a job's identity, and nothing else does."""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dovetail.data.identity import file_chain, job_identity, reader_identity


@dataclass(frozen=True)
class Reader:
    size: int
    names: frozenset = frozenset({"a", "b", "c"})

    def __call__(self, name):
        return self.size


class Plain:
    def __init__(self, value):
        self.value = value


def scaled(factor):
    return lambda name: factor


def same(one, other):
    return reader_identity(one) == reader_identity(other)


@pytest.mark.parametrize(
    "make",
    [
        Reader,
        Plain,
        scaled,
        lambda n: partial(scaled, n),
        lambda n: {"x": [n]},
        lambda n: np.full(3, n),
        lambda n: Reader(n).__call__,
    ],
)
def test_values_tell_readers_apart(make):
    assert same(make(3), make(3))
    assert not same(make(3), make(4))


def test_code_tells_functions_apart():
    def one(name):
        return 1

    def two(name):
        return 2

    def one_again(name):
        return 1

    one_again.__qualname__ = one.__qualname__
    assert not same(one, two)
    assert same(one, one_again)


def test_a_reader_that_holds_itself_or_cannot_be_pickled_is_another_each_time():
    def again(name):
        return again(name)

    held = Plain(None)
    held.value = lambda: held
    for reader in (again, held):
        assert job_identity(reader, "", {}) != job_identity(reader, "", {})


def test_the_identity_is_the_same_in_every_process(tmp_path: Path):
    code = (
        "from pathlib import Path\n"
        "from dovetail.data.identity import job_identity\n"
        "from dovetail.data.readers.cifar import Cifar10\n"
        "print(job_identity(Cifar10(), 'x', {'a': {'b', 'c', 'd'} and 1}))\n"
        "print(job_identity(lambda n: n in {'a', 'b', 'c'}, 'x', {}))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_chain_is_equal_as_far_as_the_files_are(in_tmp: Path):
    for name in "abc":
        Path(name).write_text(name)
    before = file_chain(["a", "b", "c"])
    os.utime("b", (1, 1))
    after = file_chain(["a", "b", "c"])
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True] + [
        False
    ] * 2
    assert len(file_chain(["a", "gone"])) == 3

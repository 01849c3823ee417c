"""prepare, killed at any moment: what is there is whole or refused, and going on gives the same.

Each trial kills prepare again and again, each time after a random while, until one run gets to
its end; then the records must be those of a run that nothing stopped, byte for byte.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dovetail.data.records import Records
from dovetail.errors import DataError

FILES = 60
# What the killed process runs: many small shards, saving what is in none often, files that fail
# and files of many rows. It says on stdout which file it reads, and waits a little at each.
CHILD = """
import sys, time
from dovetail.data import reading, resume
from dovetail.data.prepare import prepare
from dovetail.data.schema import Schema

resume._SECONDS, resume._SHARE = 0.02, 0
reading.PART_BYTES = 500
SCHEMA = [
    {"name": "number", "shape": [], "dtype": "int64"},
    {"name": "words", "shape": [None], "dtype": "string"},
]

def read(name):
    print(name, flush=True)
    time.sleep(float(sys.argv[2]))
    number = int(open(name).read())
    for extra in range(number % 23):
        yield number, ["x" * extra, name]
    if number % 19 == 7:
        raise ValueError("the end is missing")

prepare("files/*.txt", sys.argv[1], SCHEMA, read, workers=1, shard_bytes=900, on_error="skip",
        overwrite="again" in sys.argv)
"""


def start(output: str, wait: float, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "child.py", output, str(wait), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


@pytest.fixture
def whole(in_tmp: Path) -> dict[str, bytes]:
    Path("child.py").write_text(CHILD)
    Path("files").mkdir()
    for number in range(FILES):
        Path(f"files/{number}.txt").write_text(str(number))
    child = start("whole", 0)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert len(out.splitlines()) == FILES
    return contents("whole")


def killed_until_done(output: str, rng: random.Random, *more: str) -> tuple[int, list[list[str]]]:
    """Kill prepare after random whiles until it is done: how often, and what each run read."""
    reads: list[list[str]] = []
    for kills in range(100):
        # The first line comes when reading begins, so most kills fall where there is work; with a
        # wait of 2 ms reading takes about 0.2 s, and the last shard and manifest some ms more.
        child = start(output, 0.002 if kills < 8 else 0, *more)
        first = child.stdout.readline() if child.stdout else ""
        try:
            child.wait(rng.uniform(0, 0.25) if kills < 8 else 30)
        except subprocess.TimeoutExpired:
            child.kill()
        out, err = child.communicate()
        reads.append([first.strip(), *out.split()] if first else [])
        if child.returncode == 0:
            return kills, reads
        assert child.returncode == -signal.SIGKILL, err
        whole_or_refused(output, replaced=bool(more))
        if not more and Path(output).exists():  # the kill came after the records were in place
            _, err = start(output, 0).communicate()
            assert "holds records already" in err
            return kills + 1, reads
    raise AssertionError("prepare never came to its end")


def whole_or_refused(output: str, *, replaced: bool) -> None:
    if Path(output).exists():
        Records(output).verify()
    else:
        with pytest.raises(DataError, match="no such folder"):
            Records(output)
    for left in Path().glob(f".{output}.partial*"):
        with pytest.raises(DataError, match="not a whole set"):
            Records(left)
    if replaced:
        assert Path(output).exists() or Path(f".{output}.partial/old/manifest.json").exists()


def test_prepare_killed_at_any_moment_goes_on_to_the_same_bytes(
    whole: dict[str, bytes], record_testsuite_property: Callable[[str, object], None], soak: bool
) -> None:
    rng = random.Random(0)
    wanted, kills, trial = (200, 0, 0) if soak else (6, 0, 0)
    again = 0
    while kills < wanted:
        output = f"out{trial}"
        times, reads = killed_until_done(output, rng)
        assert contents(output) == whole
        assert not Path(f".{output}.partial").exists()
        again += sum(len(names) for names in reads) - FILES
        kills, trial = kills + times, trial + 1
    # What is read twice lies within one saving before each kill, not at the beginning.
    assert again / kills < FILES / 2
    record_testsuite_property("kills of prepare", kills)


def test_a_replacement_killed_at_any_moment_leaves_old_or_new(
    whole: dict[str, bytes], record_testsuite_property: Callable[[str, object], None], soak: bool
) -> None:
    rng = random.Random(1)
    wanted, kills, trial = (50, 0, 0) if soak else (3, 0, 0)
    while kills < wanted:
        output = f"out{trial}"
        Path("files/60.txt").write_text("60")
        start(output, 0).communicate(timeout=60)
        assert Path(output).exists()
        Path("files/60.txt").unlink()
        times, _ = killed_until_done(output, rng, "again")
        assert contents(output) == whole
        kills, trial = kills + times, trial + 1
    record_testsuite_property("kills of prepare that replaces", kills)

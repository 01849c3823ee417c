"""Files are added to records once, whatever happens meanwhile, and what was there stays."""

import os
import random
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from dovetail.data import resume
from dovetail.data.addition import Addition
from dovetail.data.failures import read_failures
from dovetail.data.prepare import prepare
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Schema
from dovetail.errors import DataError

SCHEMA = [
    {"name": "number", "shape": [], "dtype": "int64"},
    {"name": "words", "shape": [None], "dtype": "string"},
]
OLD, NEW = "old/*.txt", "new/*.txt"


class Read:
    """A file's number as many rows; remembers what it read."""

    identity = "numbers"

    def __init__(self) -> None:
        self.files: list[str] = []

    def __call__(self, name: str):
        self.files.append(name)
        for extra in range(5):
            yield int(Path(name).read_text()), ["é" * extra, name]


def run(files=NEW, output="out", read: Callable | None = None, append=True, **options) -> Records:
    more = {"workers": 1, "shard_bytes": 300, **options}
    return prepare(files, output, SCHEMA, read or Read(), append=append, **more)


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def numbers(records: Records) -> list[int]:
    return records.gather(range(len(records)))["number"].tolist()


def leftovers() -> list[str]:
    return [name for name in os.listdir() if name.startswith(".")]


@pytest.fixture
def base(in_tmp: Path) -> dict[str, bytes]:
    """Records of the old files, at `out`, beside new files."""
    for folder, first in (("old", 0), ("new", 100)):
        Path(folder).mkdir()
        for number in range(4):
            Path(f"{folder}/{number}.txt").write_text(str(first + number))
    run(OLD, append=False)
    return contents("out")


@pytest.fixture
def whole(base: dict[str, bytes]) -> dict[str, bytes]:
    """What `out` is to hold after the new files are added to it."""
    shutil.copytree("out", "unkilled")
    run(output="unkilled")
    return contents("unkilled")


def test_new_rows_come_behind_those_that_are_there(base: dict[str, bytes]) -> None:
    records = run()
    assert numbers(records) == [
        n for first in (0, 100) for n in range(first, first + 4) for _ in "5" * 5
    ]
    records.verify()
    after = contents("out")
    assert all(after[name] == base[name] for name in base if name != "manifest.json")
    [added] = records.manifest.additions
    assert (added.shard, added.rows) == (len([n for n in base if n.startswith("shard")]), 20)
    assert leftovers() == []


def test_the_bytes_are_the_same_for_any_number_of_processes(
    whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("reader_of_appended.py").write_text(
        "class Read:\n"
        "    identity = 'numbers'\n"
        "    def __call__(self, name):\n"
        "        for extra in range(5):\n"
        "            yield int(open(name).read()), ['é' * extra, name]\n"
    )
    monkeypatch.syspath_prepend(".")
    from reader_of_appended import Read as Same  # pyright: ignore[reportMissingImports]

    run(read=Same(), workers=2)
    mine, theirs = contents("out"), dict(whole)
    for each in (mine, theirs):  # the list of sources names the job, and so the reader's type
        name = next(name for name in each if name.startswith("sources-"))
        each[name] = each[name].partition(b"\n")[2]
    assert mine == theirs


def test_a_killed_append_given_again_is_as_one_that_was_never_killed(
    base: dict[str, bytes], whole: dict[str, bytes], dies_at: Callable
) -> None:
    step = 0
    while dies_at(run, step):
        rows = len(Records("out"))
        assert rows in (20, 40)
        Records("out").verify()
        if rows == 40:
            with pytest.warns(UserWarning, match="4 files .* are in 'out' already"):
                run()
        else:
            run()
        assert contents("out") == whole
        assert leftovers() == []
        put_back(base)
        step += 1
    assert step > 30
    assert contents("out") == whole


def test_kills_one_after_another_add_no_row_twice(
    base: dict[str, bytes],
    whole: dict[str, bytes],
    dies_at: Callable,
    soak: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(0)
    for trial in range(300 if soak else 8):
        monkeypatch.setattr(resume, "_SECONDS", 0.0 if trial % 2 else 5.0)
        monkeypatch.setattr(resume, "_SHARE", 0)
        put_back(base)
        while dies_at(quiet, rng.randrange(60)):
            Records("out").verify()
        assert contents("out") == whole
        assert leftovers() == []


def put_back(base: dict[str, bytes]) -> None:
    shutil.rmtree("out")
    Path("out").mkdir()
    for name, content in base.items():
        Path("out", name).write_bytes(content)


def quiet() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()


CHILD = """
import sys, time, warnings
from dovetail.data.prepare import prepare

SCHEMA = [
    {"name": "number", "shape": [], "dtype": "int64"},
    {"name": "words", "shape": [None], "dtype": "string"},
]

def read(name):
    print(name, flush=True)
    time.sleep(float(sys.argv[2]))
    for extra in range(5):
        yield int(open(name).read()), ["é" * extra, name]

warnings.simplefilter("ignore")
prepare(sys.argv[3], sys.argv[1], SCHEMA, read, workers=1, shard_bytes=300, append=True)
"""


def test_an_append_killed_by_a_signal_goes_on_to_the_same_bytes(
    base: dict[str, bytes], soak: bool
) -> None:
    Path("child.py").write_text(CHILD)

    def start(output: str, wait: float) -> subprocess.Popen[str]:
        command = [sys.executable, "child.py", output, str(wait), NEW]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    shutil.copytree("out", "unkilled")
    _, error = start("unkilled", 0).communicate(timeout=60)
    assert error == ""
    rng = random.Random(0)
    for trial in range(100 if soak else 2):
        shutil.copytree("out", f"out{trial}")
        for _ in range(2):
            child = start(f"out{trial}", 0.02)
            assert child.stdout is not None
            child.stdout.readline()
            try:
                child.wait(rng.uniform(0, 0.12))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
            child.communicate()
        _, error = start(f"out{trial}", 0).communicate(timeout=60)
        assert error == ""
        assert contents(f"out{trial}") == contents("unkilled")
    assert leftovers() == []


def test_what_a_stopped_append_finished_is_not_read_again(
    whole: dict[str, bytes], dies_at: Callable
) -> None:
    class Stopping(Read):
        def __call__(self, name: str):
            if name.endswith("3.txt"):
                os._exit(9)
            yield from super().__call__(name)

    Stopping.__name__, Stopping.__qualname__ = "Read", "Read"
    assert dies_at(lambda: run(read=Stopping()), 10_000)
    read = Read()
    run(read=read)
    assert read.files[0] != "new/0.txt"
    assert contents("out") == whole


def test_files_that_are_there_are_left_out_with_a_note(base: dict[str, bytes]) -> None:
    with pytest.warns(UserWarning, match=r"4 files \('old/0.txt', .*\) are in .* left out"):
        records = run([OLD, "new/2.txt"])
    assert numbers(records)[20:] == [102] * 5
    before = contents("out")
    with pytest.warns(UserWarning, match="5 files .* so there is nothing to add"):
        assert len(run([OLD, "new/2.txt"])) == 25
    with pytest.warns(UserWarning, match="The file 'old/1.txt' is in"):
        run("old/1.txt")
    assert contents("out") == before
    assert leftovers() == []


def test_a_file_that_changed_since_it_was_added_is_refused(base: dict[str, bytes]) -> None:
    Path("old/1.txt").write_text("11111")
    with pytest.raises(DataError, match=r"'old/1.txt' is in 'out' already, and changed since"):
        run([OLD, NEW])
    assert contents("out") == base
    assert leftovers() == []


def test_a_file_that_failed_before_is_added_when_it_was_corrected(in_tmp: Path) -> None:
    Path("files").mkdir()
    for number in range(6):
        Path(f"files/{number}.txt").write_text("bad" if number in (2, 4) else str(number))
    run("files/*.txt", append=False, on_error="skip")
    again = contents("out")
    with pytest.warns(UserWarning, match="nothing to add; the other 2 gave no rows"):
        run("files/*.txt", on_error="skip")
    assert contents("out") == again
    with (
        pytest.warns(UserWarning, match="4 files .* left out"),
        pytest.raises(DataError, match=r"failed on 'files/2\.txt'"),
    ):
        run("files/*.txt")
    Path("files/2.txt").write_text("2")
    with pytest.warns(UserWarning, match="4 files"):
        records = run("files/*.txt", on_error="skip")
    assert numbers(records)[20:] == [2] * 5
    assert [one.file for one in read_failures("out")][2:] == ["files/4.txt"]


def test_what_does_not_agree_is_refused_and_named(base: dict[str, bytes]) -> None:
    other = [{**SCHEMA[0], "dtype": "float32"}, SCHEMA[1]]
    with pytest.raises(DataError, match=r"'number': float32 \[\] here, int64 \[\] there"):
        prepare(NEW, "out", other, Read(), append=True)
    with pytest.raises(DataError, match="compression: lz4 here, None there"):
        run(compression="lz4")
    with pytest.raises(DataError, match="overwrite replaces"):
        run(overwrite=True)
    with pytest.raises(DataError, match="There are no records"):
        run(output="none")
    assert contents("out") == base
    assert leftovers() == []


def test_records_in_use_are_refused_by_whichever_name(base: dict[str, bytes]) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/link").symlink_to(Path("out").absolute())
    used = Addition(Path("out"))
    for name in ("out", "elsewhere/link"):
        with pytest.raises(DataError, match="is being written by another process"):
            run(output=name)
    with pytest.raises(DataError, match="is being written by another process"):
        RecordWriter("elsewhere/link", Schema.from_list(SCHEMA), append=True)
    used.give_up()
    assert len(run(output="elsewhere/link")) == 40
    assert Path("elsewhere/link").is_symlink()


def test_records_that_do_not_tell_their_sources_say_so(in_tmp: Path) -> None:
    with RecordWriter("out", Schema.from_list(SCHEMA)) as writer:
        writer.append((1, []))
    Path("new").mkdir()
    Path("new/1.txt").write_text("7")
    with pytest.warns(UserWarning, match="does not say of all its rows"):
        run()
    with pytest.warns(UserWarning, match="'new/1.txt' is in 'out' already"):
        run()
    assert numbers(Records("out")) == [1, *[7] * 5]


def test_compression_is_that_of_the_records(base: dict[str, bytes]) -> None:
    run(OLD, "packed", append=False, compression="lz4")
    records = run(output="packed")
    assert len(records) == 40
    assert all(shard.row_blocks for shard in records.manifest.shards)


def test_a_late_failure_takes_back_only_rows_that_were_to_be_added(
    base: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Read):
        def __call__(self, name: str):
            yield from super().__call__(name)
            for extra in range(40):
                yield extra, ["more"]
            if name.endswith("0.txt"):
                raise ValueError("the end is missing")

    monkeypatch.setattr("dovetail.data.reading.PART_BYTES", 100)
    records = run(read=Late(), on_error="skip")
    assert numbers(records)[15:25] == [3] * 5 + [101] * 5
    records.verify()
    Path("new/0.txt").write_text("bad")
    with pytest.raises(DataError, match="None of the 1 files gave a row"):
        run("new/0.txt", on_error="skip")
    assert len(Records("out")) == len(records)

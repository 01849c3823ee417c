"""A prepare that was stopped goes on: no finished file again, the same bytes, or anew aloud."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dovetail.data import resume
from dovetail.data.failures import read_failures
from dovetail.data.prepare import prepare
from dovetail.errors import DataError

SCHEMA = [
    {"name": "number", "shape": [], "dtype": "int64"},
    {"name": "words", "shape": [None], "dtype": "string"},
]
SHARD = 400  # bytes: about ten rows


class Stopped(BaseException):
    """What a test stops a prepare with: no error that prepare knows, as a kill is none."""


class Read:
    """A file's number as many rows; remembers what it read, and may be stopped there."""

    identity = "numbers"

    def __init__(self, stop_at: str = "") -> None:
        self.stop_at = stop_at
        self.files: list[str] = []

    def __call__(self, name: str):
        self.files.append(name)
        for extra in range(7):
            if self.stop_at and name.endswith(self.stop_at) and extra == 4:
                raise Stopped
            yield {"number": int(Path(name).read_text()), "words": ["é" * extra, name]}


@pytest.fixture
def files(in_tmp: Path) -> Path:
    (in_tmp / "files").mkdir()
    for number in range(12):
        (in_tmp / f"files/{number}.txt").write_text(str(number))
    return in_tmp


def run(read: Callable, output: str = "out", **options) -> None:
    prepare("files/*.txt", output, SCHEMA, read, workers=1, shard_bytes=SHARD, **options)


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def stopped(at: str, **options) -> None:
    with pytest.raises(Stopped):
        run(Read(at), **options)
    assert not Path("out").exists()
    assert Path(".out.partial").exists()


@pytest.fixture
def whole(files: Path) -> dict[str, bytes]:
    run(Read(), "whole")
    return contents("whole")


@pytest.mark.parametrize("at", [3, 8, 11])
def test_what_is_in_finished_shards_is_not_read_again(whole: dict[str, bytes], at: int) -> None:
    stopped(f"/{at}.txt")
    read = Read()
    run(read)
    assert contents("out") == whole
    assert len(read.files) <= 12 - at + 2  # a shard holds rows of two files at most
    assert not Path(".out.partial").exists()


def test_rows_in_no_shard_yet_are_kept_too(
    whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "_SECONDS", 0.0)
    monkeypatch.setattr(resume, "_SHARE", 0)
    stopped("/8.txt")
    read = Read()
    run(read)
    assert contents("out") == whole
    assert read.files == [f"files/{number}.txt" for number in range(8, 12)]


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_shards_are_gone_on_from_too(
    files: Path, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "_SECONDS", 0.0)
    run(Read(), "whole", compression=compression)
    stopped("/8.txt", compression=compression)
    read = Read()
    run(read, compression=compression)
    assert contents("out") == contents("whole")
    assert read.files[0] != "files/0.txt"


def test_many_stops_one_after_another_end_with_the_same_bytes(
    whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in (2, 2, 3, 5, 9, 11):
        monkeypatch.setattr(resume, "_SECONDS", 5.0 if at % 2 else 0.0)
        stopped(f"/{at}.txt")
    run(Read())
    assert contents("out") == whole


def test_progress_begins_with_the_files_that_are_done(files: Path) -> None:
    stopped("/8.txt")
    seen: list[tuple[int, int]] = []
    run(Read(), progress=lambda *at: seen.append(at))
    assert 5 <= seen[0][0] <= 8
    assert seen[-1] == (12, 12)


def test_a_damaged_shard_is_made_again_with_all_after_it(whole: dict[str, bytes]) -> None:
    stopped("/8.txt")
    shard = Path(".out.partial/records/shard-00001.arrow")
    shard.write_bytes(bytes([shard.read_bytes()[0] ^ 1]) + shard.read_bytes()[1:])
    run(Read())
    assert contents("out") == whole


def test_a_torn_journal_loses_only_its_end(whole: dict[str, bytes]) -> None:
    stopped("/8.txt")
    journal = Path(".out.partial/journal")
    journal.write_bytes(journal.read_bytes()[:-20])
    run(Read())
    assert contents("out") == whole


def changed_file() -> None:
    Path("files/1.txt").write_text("100")


def changed_time() -> None:
    os.utime("files/1.txt", (1, 1))


def another_file() -> None:
    Path("files/00.txt").write_text("20")


def removed_file() -> None:
    Path("files/0.txt").unlink()


@pytest.mark.parametrize("change", [changed_file, changed_time, another_file, removed_file])
def test_changed_files_begin_anew_and_it_is_said(files: Path, change: Callable) -> None:
    stopped("/8.txt")
    change()
    read = Read()
    with pytest.warns(UserWarning, match=r"'out' is begun anew.* files changed"):
        run(read)
    assert len(read.files) == len(os.listdir("files"))
    run(Read(), "whole")
    assert contents("out") == contents("whole")


def later_file() -> None:
    Path("files/20.txt").write_text("20")


def corrected_file() -> None:
    Path("files/8.txt").write_text("88")


def removed_later_file() -> None:
    Path("files/8.txt").unlink()


@pytest.mark.parametrize("change", [later_file, corrected_file, removed_later_file])
def test_files_that_were_not_reached_may_change(
    files: Path, change: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped("/8.txt")
    change()
    read = Read()
    run(read)
    assert len(read.files) < 8
    run(Read(), "whole")
    assert contents("out") == contents("whole")


def test_a_changed_file_in_the_middle_keeps_what_comes_before(files: Path) -> None:
    stopped("/8.txt")
    Path("files/5.txt").write_text("55")
    read = Read()
    with pytest.warns(UserWarning, match=r"'out' is gone on with from 'files/[345]\.txt'.* files"):
        run(read)
    assert "files/2.txt" not in read.files
    run(Read(), "whole")
    assert contents("out") == contents("whole")


def test_another_reader_or_other_metadata_begins_anew(files: Path) -> None:
    class Other(Read):
        identity = "others"

    stopped("/8.txt")
    with pytest.warns(UserWarning, match="the reader and metadata or settings changed"):
        run(Other(), metadata={"a": 1})


def test_a_reader_that_is_a_function_is_known_again_by_its_code(files: Path) -> None:
    stop = [True]

    def read(name: str):
        if stop and name.endswith("8.txt"):
            stop.clear()
            raise Stopped
        for extra in range(7):
            yield extra, [name]

    with pytest.raises(Stopped):
        run(read)
    with pytest.warns(UserWarning, match="the reader changed"):  # what it closes over did
        run(read)


def test_a_bad_file_can_be_left_out_without_reading_the_others_again(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("files/2.txt").write_text("two")
    Path("files/9.txt").write_text("nine")
    run(Read(), "whole", on_error="skip")
    monkeypatch.setattr(resume, "_SECONDS", 0.0)
    monkeypatch.setattr(resume, "_SHARE", 0)
    with pytest.raises(DataError, match=r"(?s)2 files failed.*kept: the same command goes on"):
        run(Read(), on_error=1)
    with pytest.raises(DataError, match=r"files/2\.txt"):
        run(Read())  # a file that was left out is not forgotten
    read = Read()
    run(read, on_error="skip")
    assert read.files[0] == "files/9.txt"
    assert contents("out") == contents("whole")
    assert [one.file for one in read_failures("out")] == ["files/2.txt", "files/9.txt"]


class LateFailure(Read):
    """Fails at a file's last row, after its first ones are in shards."""

    identity = "late"

    def __call__(self, name: str):
        yield from super().__call__(name)
        for extra in range(60):
            yield extra, ["more"]
        if name.endswith(("/3.txt", "/7.txt")):
            raise ValueError("the end is missing")


@pytest.mark.parametrize("at", ["/3.txt", "/4.txt", "/7.txt", "/8.txt"])
def test_rows_of_a_file_that_fails_are_taken_back_after_a_stop_too(
    files: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dovetail.data.reading.PART_BYTES", 100)
    monkeypatch.setattr(resume, "_SECONDS", 0.0)
    run(LateFailure(), "whole", on_error="skip")
    with pytest.raises(Stopped):
        run(LateFailure(at), on_error="skip")
    run(LateFailure(), on_error="skip")
    assert contents("out") == contents("whole")


def test_a_stopped_replacement_leaves_the_old_records_and_goes_on(
    whole: dict[str, bytes],
) -> None:
    prepare("files/1.txt", "out", SCHEMA, Read(), workers=1)
    before = contents("out")
    with pytest.raises(Stopped):
        run(Read("/8.txt"), overwrite=True)
    assert contents("out") == before
    with pytest.raises(DataError, match="holds records already"):
        run(Read())
    read = Read()
    run(read, overwrite=True)
    assert read.files[0] != "files/0.txt"
    assert contents("out") == whole


CRASHING = """
from reader_that_dies import read
from dovetail.data.prepare import prepare
if __name__ == "__main__":
    schema = [{"name": "number", "shape": [], "dtype": "int64"}]
    prepare("files/*.txt", "out", schema, read, workers=2, shard_bytes=100)
"""
READER_THAT_DIES = """
import os, signal, time
def read(name):
    if name.endswith("/9.txt") and os.path.exists("die"):
        time.sleep(0.5)  # what it read before is on its way, and goes down with it
        os.kill(os.getpid(), signal.SIGKILL)
    return [(int(open(name).read()),)] * 9
"""


def test_a_worker_that_dies_leaves_the_finished_work(files: Path) -> None:
    Path("reader_that_dies.py").write_text(READER_THAT_DIES)
    Path("script.py").write_text(CRASHING)
    Path("die").touch()
    command = [sys.executable, "script.py"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "was killed by SIGKILL at 'files/9.txt'" in ran.stderr
    assert "What was finished until then is kept" in ran.stderr
    Path("die").unlink()
    subprocess.run(command, check=True)
    assert Path("out/manifest.json").exists()

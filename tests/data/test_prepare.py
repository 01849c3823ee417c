"""From files to records: found, read by any number of processes, stored whole or not at all."""

import importlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dovetail.data import prepare as prepare_module
from dovetail.data.failures import read_failures
from dovetail.data.prepare import prepare
from dovetail.data.readers.image_folder import ImageFolder, image_folder_schema
from dovetail.data.records import Records
from dovetail.data.schema import Schema
from dovetail.errors import DataError

SCHEMA = [{"name": "number", "shape": [], "dtype": "int64"}]

# What a user's module holds. Worker processes find it on sys.path, as this one does.
READERS = '''
import os, random, runpy, signal, sys, time
from pathlib import Path
import numpy as np

def number(name):
    return (int(Path(name).read_text()),)

class ByPath:
    """Loads a function from a file by its path when it is first called, as a command does."""
    def __init__(self, path, name):
        self.path, self.name, self.function = path, name, None
    def __call__(self, filename):
        self.function = self.function or runpy.run_path(self.path)[self.name]
        return self.function(filename)

def draw(name):
    return {"number": random.randrange(2**40) + int(np.random.randint(2**40))}

def several(name):
    for extra in range(int(Path(name).read_text()) % 4):
        yield {"number": extra}

def many(name):
    for extra in range(1000):
        yield {"number": np.int64(extra)}

def wrong(name):
    return ("7.5" if name.endswith("/3.txt") else 7,)

def wrong_row(name):
    yield (1,)
    yield (2.5,)

def die(name):
    if name.endswith("/5.txt"):
        os.kill(os.getpid(), signal.SIGKILL)
    return number(name)

def leave(name):
    sys.exit("enough")

def slow(name):
    time.sleep(60)

def late(name):
    for extra in range(100):
        bad = extra == 90 and name.endswith(("/3.txt", "/5.txt"))
        yield {"number": 2.5 if bad else extra}

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")

def odd(name):
    raise Odd("this", "that")
'''

SCRIPT = """
import readers_of_a_user
from dovetail.data.failures import read_failures
from dovetail.data.prepare import prepare

def said(done, total):
    print(done, total, flush=True)

schema = [{"name": "number", "shape": [], "dtype": "int64"}]
"""
CALL = "prepare('files/*.txt', 'out', schema, readers_of_a_user.%s, workers=%d, progress=said)"


@pytest.fixture
def readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "readers_of_a_user.py").write_text(READERS)
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.txt").write_text(str(number))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "readers_of_a_user", raising=False)
    return importlib.import_module("readers_of_a_user")


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def numbers(records: Records) -> list[int]:
    return records.gather(np.arange(len(records)))["number"].tolist()


def hidden() -> list[str]:
    return [name for name in os.listdir() if name.startswith(".")]


def script(call: str) -> subprocess.Popen[str]:
    Path("script.py").write_text(SCRIPT + call)
    return subprocess.Popen(
        [sys.executable, "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_rows_come_in_natural_order_of_the_names(readers: ModuleType) -> None:
    assert numbers(prepare("files/*.txt", "out", SCHEMA, readers.number)) == list(range(12))


@pytest.mark.parametrize("name", ["number", "draw", "several", "many"])
def test_the_bytes_are_the_same_for_any_number_of_processes(readers: ModuleType, name: str) -> None:
    read = getattr(readers, name)
    for workers in (1, 2, 3):
        prepare("files/*.txt", f"out{workers}", SCHEMA, read, workers=workers)
    assert contents("out1") == contents("out2") == contents("out3")


def test_going_on_with_processes_midway_gives_the_same_bytes(
    readers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("files/*.txt", "one", SCHEMA, readers.draw, workers=1)
    monkeypatch.setattr(prepare_module, "_PATIENCE", 0.0)
    monkeypatch.setattr(prepare_module, "usual_workers", lambda: 2)
    prepare("files/*.txt", "two", SCHEMA, readers.draw)
    assert contents("one") == contents("two")


def test_a_reader_that_loads_its_function_by_path_works_in_processes(readers: ModuleType) -> None:
    Path("model.py").write_text(
        "def read(name):\n    return (10 * int(name.split('/')[-1].removesuffix('.txt')),)\n"
    )
    records = prepare("files/*.txt", "out", SCHEMA, readers.ByPath("model.py", "read"), workers=2)
    assert numbers(records) == [10 * number for number in range(12)]


def test_an_iterator_or_a_list_gives_many_rows_or_none(readers: ModuleType) -> None:
    expected = [extra for number in range(12) for extra in range(number % 4)]
    assert numbers(prepare("files/*.txt", "a", SCHEMA, readers.several)) == expected
    listed = prepare("files/*.txt", "b", SCHEMA, lambda name: list(readers.several(name)) or [(9,)])
    assert len(listed) == len(expected) + 3


def test_the_callers_random_numbers_are_left_as_they_were(readers: ModuleType) -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    prepare("files/*.txt", "out", SCHEMA, readers.draw, workers=1)
    assert (random.random(), np.random.random()) == expected


def test_progress_counts_files_from_none_to_all(readers: ModuleType) -> None:
    seen: list[tuple[int, int]] = []
    prepare("files/*.txt", "out", SCHEMA, readers.many, progress=lambda *at: seen.append(at))
    assert seen == [(done, 12) for done in range(13)]


def test_patterns_go_through_folders_and_take_each_file_once(readers: ModuleType) -> None:
    for name in ("more/deep/30.txt", "more/20.txt", "more/.hidden/1.txt", "more/40.csv"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(Path(name).stem)
    os.symlink(os.path.abspath("more"), "more/loop")
    patterns = ["more/**/*.txt", Path("files/3.txt"), "./files/[34].txt"]
    assert numbers(prepare(patterns, "out", SCHEMA, readers.number)) == [3, 4, 20, 30]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("files/*.png", r"pattern 'files/\*\.png' matches no file"),
        ("fils/*.txt", r"'fils/\*\.txt' matches no file .*no folder 'fils'"),
        ("files/99.txt", r"no file 'files/99\.txt'"),
        ("files", r"'files' is a folder\. Give .*'files/\*\*/\*'"),
    ],
)
def test_a_pattern_that_matches_nothing_is_named(
    readers: ModuleType, pattern: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        prepare(["files/*.txt", pattern], "out", SCHEMA, readers.number)
    assert not Path("out").exists()
    assert hidden() == []


def test_no_row_at_all_is_an_error(readers: ModuleType) -> None:
    with pytest.raises(DataError, match=r"None of the 1 files gave a row.*files/0\.txt"):
        prepare("files/0.txt", "out", SCHEMA, readers.several)
    assert not Path("out").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_names_the_first_bad_file_and_keeps_its_cause(
    readers: ModuleType, workers: int
) -> None:
    for bad in (4, 7):
        Path(f"files/{bad}.txt").write_text("seven")
    with pytest.raises(
        DataError, match=r"number failed on 'files/4\.txt': ValueError: .*seven"
    ) as e:
        prepare("files/*.txt", "out", SCHEMA, readers.number, workers=workers)
    assert isinstance(e.value.__cause__, ValueError)
    assert not Path("out").exists()
    assert hidden() == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong", r"files/3\.txt: field 'number'"),
        ("wrong_row", r"files/0\.txt, row 1: field 'number'"),
        ("leave", r"leave failed on 'files/0\.txt': SystemExit: enough"),
        ("odd", r"odd failed on 'files/0\.txt': Odd: this and that"),
    ],
)
def test_what_is_wrong_is_said_alike_with_and_without_processes(
    readers: ModuleType, name: str, message: str, workers: int
) -> None:
    with pytest.raises(DataError, match=message):
        prepare("files/*.txt", "out", SCHEMA, getattr(readers, name), workers=workers)


def test_a_worker_that_is_killed_is_an_error_that_names_its_file(readers: ModuleType) -> None:
    with pytest.raises(DataError, match=r"was killed by SIGKILL at 'files/5\.txt'"):
        prepare("files/*.txt", "out", SCHEMA, readers.die, workers=3)
    assert not Path("out").exists()
    assert hidden() == []


def test_a_reader_that_cannot_be_pickled_is_refused_or_used_in_this_process(
    readers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"cannot be sent to another process.*workers=1"):
        prepare("files/*.txt", "out", SCHEMA, lambda name: (1,), workers=2)
    monkeypatch.setattr(prepare_module, "_PATIENCE", 0.0)
    assert len(prepare("files/*.txt", "out", SCHEMA, lambda name: (1,))) == 12


def test_a_script_without_a_main_guard_is_told_of_it(readers: ModuleType) -> None:
    child = script(CALL % ("number", 2))
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "before it read its first file" in stderr
    assert "if __name__ == '__main__':" in stderr.splitlines()[-1]
    assert not Path("out").exists()


def test_control_c_ends_every_process_and_leaves_nothing(readers: ModuleType) -> None:
    child = script("if __name__ == '__main__':\n    " + CALL % ("slow", 2))
    assert child.stdout is not None
    assert child.stdout.readline() == "0 12\n"
    os.killpg(child.pid, signal.SIGINT)
    # The pipes are read to their ends, which come when no process holds them any more.
    _, stderr = child.communicate(timeout=30)
    assert child.returncode == -signal.SIGINT
    assert stderr.count("Traceback") == 1
    assert not Path("out").exists()
    assert hidden() == []


def test_what_a_killed_run_leaves_is_not_records_and_is_cleared_by_the_next(
    readers: ModuleType,
) -> None:
    child = script("if __name__ == '__main__':\n    " + CALL % ("slow", 1))
    assert child.stdout is not None
    assert child.stdout.readline() == "0 12\n"
    child.kill()
    child.communicate()
    assert not Path("out").exists()
    assert len(hidden()) == 1
    assert len(prepare("files/*.txt", "out", SCHEMA, readers.number)) == 12
    assert hidden() == []


def test_records_are_replaced_only_when_that_is_asked_for(readers: ModuleType) -> None:
    prepare("files/*.txt", "out", SCHEMA, readers.number)
    with pytest.raises(DataError, match=r"out' holds records already.*overwrite=True"):
        prepare("files/1*.txt", "out", SCHEMA, readers.number)
    replaced = prepare("files/1*.txt", "out", SCHEMA, readers.number, overwrite=True)
    assert numbers(replaced) == [1, 10, 11]
    assert hidden() == []


def test_a_replacement_that_fails_leaves_the_old_records(readers: ModuleType) -> None:
    prepare("files/*.txt", "out", SCHEMA, readers.number)
    before = contents("out")
    with pytest.raises(DataError, match="odd failed"):
        prepare("files/*.txt", "out", SCHEMA, readers.odd, overwrite=True)
    assert contents("out") == before
    assert hidden() == []


def test_old_records_that_a_killed_replacement_moved_aside_are_put_back(
    readers: ModuleType,
) -> None:
    prepare("files/*.txt", "out", SCHEMA, readers.number)
    before = contents("out")
    os.mkdir(".out.partial")
    os.rename("out", ".out.partial/old")
    with pytest.raises(DataError, match="holds records already"):
        prepare("files/1*.txt", "out", SCHEMA, readers.number)
    assert contents("out") == before
    assert hidden() == []


def test_a_folder_that_is_not_records_is_never_replaced(readers: ModuleType) -> None:
    with pytest.raises(DataError, match="not a folder of records, so it is left alone"):
        prepare("files/*.txt", "files", SCHEMA, readers.number, overwrite=True)
    assert len(os.listdir("files")) == 12


def test_an_output_that_cannot_be_written_is_refused_before_reading(readers: ModuleType) -> None:
    with pytest.raises(DataError, match=r"files/0\.txt"):
        prepare("files/*.txt", "files/0.txt/out", SCHEMA, readers.odd)


def test_images_by_class_are_stored_with_the_names_of_the_classes(readers: ModuleType) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    for number, image in enumerate(pixels):
        folder = Path("pets", "dog" if number % 2 else "cat")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    schema = image_folder_schema(8, 8, 1)
    for workers in (1, 2):
        out = f"out{workers}"
        records = prepare(
            "pets/**/*.png",
            out,
            schema,
            ImageFolder(schema),
            workers=workers,
            metadata={"source": "here"},
        )
        assert records.metadata == {"classes": ["cat", "dog"], "source": "here"}
        columns = records.gather(np.arange(6))
        assert np.array_equal(columns["image"][..., 0], pixels[[0, 2, 4, 1, 3, 5]])
        assert columns["label"].ravel().tolist() == [0, 0, 0, 1, 1, 1]
    assert contents("out1") == contents("out2")


class Squares:
    """A reader that knows its schema once it knows its files."""

    schema: Schema | None = None

    def for_files(self, names: list[str]) -> "Squares":
        bound = Squares()
        bound.schema = Schema.from_list(
            [{"name": f"of_{len(names)}", "shape": [], "dtype": "int64"}]
        )
        return bound

    def __call__(self, filename: str) -> tuple[int]:
        return (int(Path(filename).read_text()) ** 2,)


def test_without_a_schema_the_readers_own_is_taken(readers: ModuleType) -> None:
    records = prepare("files/*.txt", "out", None, Squares())
    assert records.gather([3])["of_12"].tolist() == [9]


def test_without_any_schema_it_is_said_that_one_is_needed(readers: ModuleType) -> None:
    with pytest.raises(DataError, match="number does not say what its rows are"):
        prepare("files/*.txt", "out", None, readers.number)


def test_a_folder_that_is_being_written_is_refused_until_its_writer_is_gone(
    readers: ModuleType,
) -> None:
    child = script("if __name__ == '__main__':\n    " + CALL % ("slow", 1))
    assert child.stdout is not None
    assert child.stdout.readline() == "0 12\n"
    for overwrite in (False, True):
        with pytest.raises(DataError, match="is being written by another process"):
            prepare("files/*.txt", "out", SCHEMA, readers.number, overwrite=overwrite)
    child.kill()
    child.communicate()
    assert len(prepare("files/*.txt", "out", SCHEMA, readers.number)) == 12


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_files_that_fail_are_left_out_and_reported_with_the_reason(
    readers: ModuleType, workers: int
) -> None:
    for bad in (4, 7):
        Path(f"files/{bad}.txt").write_text("seven")
    out = f"out{workers}"
    prepare("files/*.txt", out, SCHEMA, readers.number, workers=workers, on_error=2)
    records = Records(out)
    assert numbers(records) == [0, 1, 2, 3, 5, 6, 8, 9, 10, 11]
    assert [one.file for one in read_failures(out)] == ["files/4.txt", "files/7.txt"]
    assert "ValueError: invalid literal" in read_failures(out)[0].reason
    prepare("files/*.txt", "alone", SCHEMA, readers.number, workers=1, on_error="skip")
    assert contents(out) == contents("alone")


@pytest.mark.parametrize("workers", [1, 2])
def test_of_a_file_that_fails_late_no_row_is_kept(
    readers: ModuleType, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dovetail.data.reading.PART_BYTES", 64)
    prepare(
        "files/*.txt",
        "out",
        SCHEMA,
        readers.late,
        workers=workers,
        on_error="skip",
        shard_bytes=500,
    )
    expected = [extra for number in range(12) if number not in (3, 5) for extra in range(100)]
    assert numbers(Records("out")) == expected
    assert [one.file for one in read_failures("out")] == ["files/3.txt", "files/5.txt"]
    assert "row 90: field 'number'" in read_failures("out")[0].reason
    assert len(list(Path("out").iterdir())) == len(Records("out").manifest.shards) + 3


def test_one_failure_more_than_allowed_ends_it(readers: ModuleType) -> None:
    for bad in (4, 7):
        Path(f"files/{bad}.txt").write_text("seven")
    with pytest.raises(DataError, match=r"2 files failed, .* the 1 that on_error (.|\n)*7\.txt"):
        prepare("files/*.txt", "out", SCHEMA, readers.number, on_error=1)
    assert not Path("out").exists()
    assert hidden() == []


def test_records_of_which_no_file_failed_have_no_report(readers: ModuleType) -> None:
    prepare("files/*.txt", "out", SCHEMA, readers.number, on_error="skip")
    assert read_failures("out") == []
    assert sorted(os.listdir("out")) == ["manifest.json", "shard-00000.arrow", "sources.jsonl"]


def test_where_every_file_fails_the_first_reason_is_said(readers: ModuleType) -> None:
    with pytest.raises(DataError, match="12 failed, the first so: odd failed on 'files/0.txt'"):
        prepare("files/*.txt", "out", SCHEMA, readers.odd, on_error="skip")


@pytest.mark.parametrize("on_error", ["ignore", -1, 1.5, True, None])
def test_a_way_with_errors_that_there_is_not_is_refused(readers: ModuleType, on_error: Any) -> None:
    with pytest.raises(DataError, match="on_error must be"):
        prepare("files/*.txt", "out", SCHEMA, readers.number, on_error=on_error)

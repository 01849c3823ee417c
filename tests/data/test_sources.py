"""The list of the files that records are from: what it tells, and that damage to it is seen."""

import os
from pathlib import Path

import pytest

from dovetail.data.manifest import read_manifest
from dovetail.data.prepare import prepare
from dovetail.data.sources import (
    Known,
    Source,
    fresh,
    job_name,
    read_sources,
    source_of,
    write_sources,
)
from dovetail.errors import DataError

SCHEMA = [{"name": "n", "shape": [], "dtype": "int64"}]


def read(name: str) -> dict[str, int]:
    return {"n": int(Path(name).read_text())}


@pytest.fixture
def out(in_tmp: Path) -> Path:
    for name in ("1.txt", "2.txt"):
        (in_tmp / name).write_text(name[0])
    prepare("*.txt", "out", SCHEMA, read, workers=1)
    return in_tmp / "out"


def test_records_say_which_files_they_are_from(out: Path) -> None:
    known = read_sources(out, read_manifest(out))
    assert list(known.sources) == [str(out.parent / name) for name in ("1.txt", "2.txt")]
    status = os.stat("2.txt")
    path = str(out.parent / "2.txt")
    assert known.sources[path] == Source(path, status.st_size, status.st_mtime_ns)
    assert known.complete
    assert len(known.jobs) == 1


def test_the_list_is_no_part_of_the_fingerprint(out: Path) -> None:
    before = read_manifest(out).fingerprint
    os.utime("1.txt", (5, 5))
    prepare("*.txt", "again", SCHEMA, read, workers=1)
    assert read_manifest(Path("again")).fingerprint == before


def test_a_file_is_the_same_by_every_spelling_of_its_name(out: Path) -> None:
    names = ["./1.txt", f"{out.parent}//1.txt"]
    with pytest.warns(UserWarning, match="2 files"):
        new, _ = fresh(
            names, [source_of(name) for name in names], read_sources(out, read_manifest(out)), "out"
        )
    assert new == []


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"not JSON\n", None])
def test_a_damaged_list_is_refused(out: Path, damage: bytes | None) -> None:
    path = out / "sources.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) if damage is None else damage)
    with pytest.raises(DataError, match=r"sources\.jsonl was damaged"):
        read_sources(out, read_manifest(out))


def test_names_that_are_no_text_come_back_as_they_were(tmp_path: Path, out: Path) -> None:
    name = os.fsdecode(b"\xff.txt")
    write_sources(out, 0, [Source(name, 1, 2)], None)
    assert read_sources(out, read_manifest(out)) == Known({name: Source(name, 1, 2)})


def test_a_job_is_known_by_how_it_reads_and_by_every_file(out: Path) -> None:
    sources = [source_of("1.txt"), source_of("2.txt")]
    names = {job_name("a", sources), job_name("b", sources), job_name("a", sources[:1])}
    assert len(names) == 3
    assert job_name("a", list(sources)) in names

"""The folder in which an output is written: one writer's, and kept for the next, or gone."""

import os
from pathlib import Path

import pytest

from dovetail.data.aside import Aside
from dovetail.errors import DataError


def place(aside: Aside, content: str) -> None:
    (aside.records / "manifest.json").write_text(content)
    aside.put_in_place()


def test_records_appear_when_they_are_put_in_place(tmp_path: Path) -> None:
    aside = Aside(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    place(aside, "1")
    assert (tmp_path / "out/manifest.json").read_text() == "1"
    assert os.listdir(tmp_path) == ["out"]
    assert not aside.held


def test_only_one_process_or_writer_holds_it(tmp_path: Path) -> None:
    aside = Aside(tmp_path / "out")
    with pytest.raises(DataError, match="is being written by another process"):
        Aside(tmp_path / "out", resume=True)
    assert not aside.give_up()
    Aside(tmp_path / "out").give_up()
    assert os.listdir(tmp_path) == []


def test_what_is_finished_is_kept_for_who_resumes_and_gone_for_who_does_not(tmp_path: Path) -> None:
    def finished() -> None:
        aside = Aside(tmp_path / "out", resume=True)
        aside.journal.append({"job": 1})
        aside.journal.append({"shard": 1})
        (aside.records / "shard").write_text("rows")
        assert aside.give_up()

    finished()
    aside = Aside(tmp_path / "out", resume=True)
    assert len(aside.journal.entries) == 2
    assert (aside.records / "shard").exists()
    assert aside.give_up()
    aside = Aside(tmp_path / "out")
    assert aside.journal.entries == []
    assert os.listdir(aside.records) == []
    aside.give_up()
    assert os.listdir(tmp_path) == []


def test_records_are_replaced_only_if_that_is_meant(tmp_path: Path) -> None:
    place(Aside(tmp_path / "out"), "1")
    with pytest.raises(DataError, match="already holds a set of records"):
        Aside(tmp_path / "out")
    place(Aside(tmp_path / "out", replace=True), "2")
    assert (tmp_path / "out/manifest.json").read_text() == "2"
    assert os.listdir(tmp_path) == ["out"]


def test_what_a_kill_left_after_the_records_were_in_place_is_no_work(tmp_path: Path) -> None:
    place(Aside(tmp_path / "out"), "1")
    folder = tmp_path / ".out.partial"
    (folder / "old").mkdir(parents=True)
    (folder / "old/manifest.json").touch()
    aside = Aside(tmp_path / "out", replace=True, resume=True)
    aside.journal.append({"job": 1})
    aside.give_up()
    assert os.listdir(tmp_path) == ["out"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="can't be written"):
        Aside(tmp_path / "file" / "out")

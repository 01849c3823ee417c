"""A journal gives back whole entries only, and goes on after what a kill tore off."""

from pathlib import Path

import pytest

from dovetail.data.journal import Journal


@pytest.mark.parametrize("torn", [1, 5, 14])
def test_an_entry_that_was_torn_off_is_cut_away(tmp_path: Path, torn: int) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    for number in range(3):
        journal.append({"n": number})
    path.write_bytes(path.read_bytes()[:-torn])
    again = Journal(path)
    assert again.entries == [{"n": 0}, {"n": 1}]
    again.append({"n": 7})
    assert Journal(path).entries == [{"n": 0}, {"n": 1}, {"n": 7}]


def test_a_changed_entry_ends_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    for number in range(3):
        journal.append({"n": number})
    path.write_bytes(path.read_bytes().replace(b'"n": 1', b'"n": 5'))
    assert Journal(path).entries == [{"n": 0}]


def test_a_cleared_journal_is_empty(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append({"n": 1})
    journal.clear()
    assert journal.entries == []
    assert Journal(tmp_path / "journal").entries == []

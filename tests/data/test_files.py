"""Which files patterns stand for."""

import glob
import os
from pathlib import Path

import pytest

from dovetail.data.files import find_files
from dovetail.errors import DataError


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a.txt", "b/a.txt", "b/c/d/a.txt", "b/c/img10.png", "b/c/img2.png", "b/.h/a.txt"]
    for name in [*names, ".dot.txt", "b/[x].txt", "d.txt/e.txt"]:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    os.symlink("b", "link")


@pytest.mark.parametrize(
    "pattern",
    [
        *("*.txt", "**/*.txt", "b/**", "**", "b/**/d/*", "**/c/**/a.*", "*/*", "b/c/img?.png"),
        *(
            "b/c/img[0-9]*",
            ".d*",
            "**/.h/*",
            "link/**/*.png",
            "./*.txt",
            "b/../*.txt",
            "**/**/a.txt",
        ),
    ],
)
def test_patterns_match_what_pythons_glob_matches(pattern: str) -> None:
    expected = {name for name in glob.glob(pattern, recursive=True) if os.path.isfile(name)}
    found = find_files(pattern)
    assert set(found) == expected
    assert len(found) == len(expected)


def test_an_absolute_pattern_gives_absolute_names(tmp_path: Path) -> None:
    found = find_files(tmp_path / "b" / "c" / "*.png")
    assert found == [f"{tmp_path}/b/c/img2.png", f"{tmp_path}/b/c/img10.png"]


def test_the_order_does_not_depend_on_how_patterns_are_spelt(tmp_path: Path) -> None:
    several = ["./b/c/img10.png", f"{tmp_path}/b/c/img2.png", "a.txt", "b/c/*.png"]
    found = find_files(several)
    assert [name.rsplit("/")[-1] for name in found] == ["a.txt", "img2.png", "img10.png"]


def test_a_name_with_brackets_is_found_as_it_is() -> None:
    assert find_files("b/[x].txt") == ["b/[x].txt"]


def test_a_link_in_a_circle_is_not_followed_for_ever() -> None:
    os.symlink("..", "b/c/up")
    assert sorted(find_files("b/**/*.png")) == ["b/c/img10.png", "b/c/img2.png"]


def test_a_link_that_leads_nowhere_is_kept_so_that_reading_it_fails_by_name() -> None:
    os.symlink("nowhere", "b/c/img3.png")
    assert "b/c/img3.png" in find_files("**/*.png")


def test_a_folder_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if folder == "b/c":  # the tests may run as root, whom no permission stops
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"'b/c' cannot be read \(Permission denied\)"):
        find_files("**/*.png")


def test_no_pattern_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one"):
        find_files([])

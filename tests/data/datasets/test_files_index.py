"""Files as items, called by their base names."""

import pytest

from dovetail.data.datasets.files_index import FilesIndex
from dovetail.errors import DataError


@pytest.fixture
def folder(in_tmp):
    for name in ["a/img10.png", "a/img2.png", "b/c/img1.png", "b/img3.jpg", "b/notes.txt"]:
        (in_tmp / name).parent.mkdir(parents=True, exist_ok=True)
        (in_tmp / name).write_bytes(b"")
    return in_tmp


def test_ids_are_base_names_in_natural_order(folder):
    index = FilesIndex("a/*.png")
    assert index.indices.tolist() == ["img2.png", "img10.png"]
    assert index.paths == ["a/img2.png", "a/img10.png"]
    assert index.get_fullpath("img10.png") == "a/img10.png"


def test_several_patterns_are_sorted_together_or_keep_their_order(folder):
    assert FilesIndex(["b/*.jpg", "a/*"]).indices.tolist() == ["img2.png", "img10.png", "img3.jpg"]
    kept = FilesIndex(["b/*.jpg", "a/*"], sort=False)
    assert kept.indices.tolist() == ["img3.jpg", "img2.png", "img10.png"]


def test_ids_without_endings(folder):
    index = FilesIndex(folder / "a" / "*.png", no_ext=True)
    assert index.indices.tolist() == ["img2", "img10"]
    assert index.get_fullpath("img2").endswith("/a/img2.png")


def test_recursive_looks_in_folders_below(folder):
    assert FilesIndex("b/*.png", recursive=True).paths == ["b/c/img1.png"]
    assert len(FilesIndex("*.png", recursive=True)) == 3
    assert len(FilesIndex("**/*.png", recursive=True)) == 3


def test_folders_can_be_the_items(folder):
    assert FilesIndex("*", dirs=True).indices.tolist() == ["a", "b"]
    assert FilesIndex("b/*/", dirs=True).paths == ["b/c"]
    with pytest.raises(DataError, match="matches no folder"):
        FilesIndex("a/*", dirs=True)


def test_two_files_of_one_base_name_are_refused_and_both_named(folder):
    (folder / "b" / "img2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"one id, 'img2.png': 'a/img2.png' and 'b/img2.png'"):
        FilesIndex(["a/*.png", "b/*.png"])
    (folder / "a" / "img2.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"'a/img2.jpg' and 'a/img2.png'. Ids are .* without end"):
        FilesIndex("a/*", no_ext=True)


def test_a_file_that_two_patterns_match_is_one_item(folder):
    assert len(FilesIndex(["a/*.png", "./a/img2.png", str(folder / "a" / "img2.png")])) == 2


@pytest.mark.parametrize(("path", "said"), [("x/*.png", "matches no file"), ([], "empty list")])
def test_no_file_at_all_is_refused(folder, path, said):
    with pytest.raises(DataError, match=said):
        FilesIndex(path)


def test_subsets_and_parts_know_the_paths(folder):
    index = FilesIndex("**/img*", no_ext=True)
    assert index.subset_by_pos([2]).paths == [index.paths[2]]
    split = index.split(0.5)
    for part in split[:2]:
        assert isinstance(part, FilesIndex)
        assert [part.get_fullpath(id) for id in part] == [index.get_fullpath(id) for id in part]

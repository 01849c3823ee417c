"""Labels from the names of folders."""

import pickle

import pytest

from dovetail.data.readers.class_folders import ClassFolders
from dovetail.errors import DataError


def test_names_become_indices_of_the_sorted_names_and_are_kept() -> None:
    folders = ClassFolders().for_files(["a/dog/1.txt", "b/cat/1.txt", "a/7/x.txt"])
    assert [folders.label_of(f"z/{name}/q") for name in ("7", "cat", "dog")] == [0, 1, 2]
    assert folders.metadata == {"classes": ["7", "cat", "dog"]}
    assert pickle.loads(pickle.dumps(folders)) == folders


def test_whole_numbers_are_their_own_labels() -> None:
    folders = ClassFolders().for_files(["a/3/1.txt", "a/12/1.txt"])
    assert (folders.label_of("a/12/1.txt"), folders.metadata) == (12, {})


def test_given_classes_are_kept_and_any_other_folder_is_refused_with_the_nearest() -> None:
    folders = ClassFolders(["dog", "cat"])
    assert folders.for_files(["a/cat/1.txt"]).label_of("a/cat/1.txt") == 1
    with pytest.raises(DataError, match=r"a/dgo/1\.txt.*'dgo' is none of.*Did you mean 'dog'"):
        folders.for_files(["a/cat/1.txt", "a/dgo/1.txt"])


@pytest.mark.parametrize("classes", [["a", "a"], "cats"])
def test_classes_that_cannot_be_are_refused_by_the_readers_name(classes: list[str]) -> None:
    with pytest.raises(DataError, match="^Some: "):
        ClassFolders(classes, "Some")


def test_one_number_spelt_twice_and_an_unbound_name_are_refused() -> None:
    with pytest.raises(DataError, match=r"\['07', '7'\]"):
        ClassFolders().for_files(["a/7/1", "a/07/1"])
    with pytest.raises(DataError, match=r"TextFolder\(..., classes="):
        ClassFolders(reader="TextFolder").label_of("a/cat/1")

"""The class of a file by its folder, as `.../CLASS/name`, and the label it stands for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dovetail.errors import DataError, nearest

_WHOLE = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class ClassFolders:
    """Which label each folder's name stands for.

    Where all folder names are whole numbers, the label is that number; else it is the name's
    index in the sorted names. For a second data set give the first one's classes, so that a label
    means the same in both.

    Args:
      classes: folder names in the order of their labels; None takes them from the files.
      reader: the name of the reader that asks, for messages.

    Raises:
      DataError: a class is there twice.

    >>> folders = ClassFolders().for_files(["pets/cat/1.png", "pets/dog/1.png"])
    >>> folders.label_of("pets/dog/7.png"), folders.metadata
    (1, {'classes': ['cat', 'dog']})
    """

    classes: tuple[str, ...] | None = None
    reader: str = "The reader"

    def __init__(self, classes: Sequence[str] | None = None, reader: str = "The reader") -> None:
        if isinstance(classes, str):
            raise DataError(f"{reader}: classes must be a list of names; got {classes!r}.")
        if classes is not None and len(set(classes)) != len(classes):
            twice = sorted({name for name in classes if list(classes).count(name) > 1})
            raise DataError(f"{reader}: each class must be named once; {twice} is there again.")
        object.__setattr__(self, "classes", None if classes is None else tuple(classes))
        object.__setattr__(self, "reader", reader)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the records keep beside the rows: the classes, where labels are their indices."""
        return {} if self.classes is None else {"classes": list(self.classes)}

    def for_files(self, files: Iterable[str]) -> ClassFolders:
        """Return the classes that these files have, or these where they were given.

        Args:
          files: names of all files that are going to be read.

        Raises:
          DataError: a folder is none of the classes given, or two stand for one number, such
            as `7` and `07`.
        """
        if self.classes is not None:
            for name in files:
                self.label_of(name)
            return self
        names = sorted({_folder_name(name) for name in files})
        if not all(_WHOLE.fullmatch(name) for name in names):
            return ClassFolders(names, self.reader)
        if len({int(name) for name in names}) != len(names):
            raise DataError(f"Two folders stand for one number: {names}. Rename or join them.")
        return self

    def label_of(self, filename: str) -> int:
        """Return the label of a file, by the name of the folder that it lies in.

        Args:
          filename: path of the file.

        Raises:
          DataError: naming the file: its folder is no class, or no whole number where no classes
            are known.
        """
        name = _folder_name(filename)
        if self.classes is not None:
            if name not in self.classes:
                raise DataError(
                    f"{filename}: its folder '{name}' is none of the classes "
                    f"{list(self.classes)}.{nearest(name, self.classes)}"
                )
            return self.classes.index(name)
        if not _WHOLE.fullmatch(name):
            raise DataError(
                f"{filename}: its folder '{name}' is not a whole number. Give "
                f"{self.reader}(..., classes=[...]) with the folder names in order of their labels."
            )
        return int(name)


def _folder_name(filename: str) -> str:
    return os.path.basename(os.path.dirname(os.path.abspath(filename)))

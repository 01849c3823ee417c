"""Read text files that lie in one folder per class, as `.../CLASS/name.txt`."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dovetail.data.readers.class_folders import ClassFolders
from dovetail.data.readers.text_file import text_and_label, text_of
from dovetail.data.schema import Field, Schema


@dataclass(frozen=True, kw_only=True)
class TextFolder:
    """A reader for `prepare`: a file's whole text, and the name of its folder as the label.

    Labels are as in `ImageFolder`: whole numbers stand for themselves, other names for their
    index in the sorted names, which are kept as `classes` in the records' metadata.

    Args:
      schema: names the fields otherwise: one of text, and one of whole numbers for the label.
      classes: folder names in the order of their labels; None takes them from the files.
      encoding: by Python's name.

    Raises:
      DataError: naming the file, and the line where its text does not decode; or the schema has
        other fields, or a folder is none of the classes.

    >>> reader = TextFolder()
    >>> print(reader.schema)
    'text': string []; 'label': int64 []
    >>> reader.for_files(["films/bad/1.txt", "films/good/1.txt"]).metadata
    {'classes': ['bad', 'good']}
    """

    schema: Schema | None = None
    classes: Sequence[str] | None = None
    encoding: str = "utf-8"
    _folders: ClassFolders = field(init=False, repr=False, compare=False)
    _fields: tuple[Field, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fields = text_and_label(self.schema, labelled=True, reader="TextFolder")
        self._take(ClassFolders(self.classes, "TextFolder"))
        object.__setattr__(self, "_fields", fields)
        object.__setattr__(self, "schema", self.schema or Schema(fields))

    @property
    def metadata(self) -> dict[str, Any]:
        """What the records keep beside the rows: the classes, where labels are their indices."""
        return self._folders.metadata

    def for_files(self, files: Iterable[str]) -> TextFolder:
        """Return this reader with the classes that these files have; see `ClassFolders`.

        Args:
          files: names of all files that are going to be read.

        Raises:
          DataError: a folder is none of the classes given, or two stand for one number.
        """
        reader = copy.copy(self)
        reader._take(self._folders.for_files(files))
        return reader

    def __call__(self, filename: str) -> dict[str, Any]:
        """Read one file and its label, as a row by field name.

        Args:
          filename: path of the file.
        """
        text, label = self._fields
        number = self._folders.label_of(filename)
        return {text.name: text_of(filename, self.encoding), label.name: number}

    def _take(self, folders: ClassFolders) -> None:
        object.__setattr__(self, "_folders", folders)
        object.__setattr__(self, "classes", folders.classes)

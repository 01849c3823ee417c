"""Read text files as a row for each line, with a label on it if there is one."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dovetail.data.readers.text_file import lines_of, text_and_label
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError, nearest

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")


@dataclass(frozen=True, kw_only=True)
class TextLines:
    """A reader for `prepare`: each line of text files, as the field `text`.

    With a separator each line also has a label: where all labels are whole numbers (without
    leading zeros), those numbers; else the index in their sorted texts, which are kept as
    `classes` in the records' metadata. All files are then read once to find them.

    Args:
      schema: names the fields otherwise: one of text, and one of whole numbers for a label.
      separator: between label and text, such as a tab; None for lines without a label.
      label: "first", where the label ends at the line's first separator, or "last", where it
        begins after the last one.
      classes: labels in the order of their numbers; None takes those in the files.
      encoding: by Python's name.
      skip_empty: leave out lines of nothing but white space; they are rows otherwise.

    Raises:
      DataError: naming file and line (the first is 1): it does not decode, has no separator, or
        its label is none of the classes.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = path.write_text("good\\tI liked it\\nbad\\tI did not\\n")
    >>> reader = TextLines(separator="\\t").for_files([str(path)])
    >>> reader.metadata
    {'classes': ['bad', 'good']}
    >>> next(reader(str(path)))
    {'text': 'I liked it', 'label': 1}
    """

    schema: Schema | None = None
    separator: str | None = None
    label: Literal["first", "last"] = "first"
    classes: Sequence[str] | None = None
    encoding: str = "utf-8"
    skip_empty: bool = False
    _fields: tuple[Field, ...] = field(init=False, repr=False, compare=False)
    _bound: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.separator == "":
            raise DataError("TextLines: separator must be a text, or None; got an empty one.")
        if self.label not in ("first", "last"):
            raise DataError(f'TextLines: label must be "first" or "last"; got {self.label!r}.')
        if isinstance(self.classes, str) or (self.classes and self.separator is None):
            raise DataError("TextLines: classes are a list of labels, and need a separator.")
        labelled = self.separator is not None
        fields = text_and_label(self.schema, labelled=labelled, reader="TextLines")
        object.__setattr__(self, "_fields", fields)
        object.__setattr__(self, "schema", self.schema or Schema(fields))
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(self.classes))

    @property
    def metadata(self) -> dict[str, Any]:
        """What the records keep beside the rows: the classes, where labels are their indices."""
        return {} if self.classes is None else {"classes": list(self.classes)}

    def for_files(self, files: Iterable[str]) -> TextLines:
        """Return this reader with the classes of these files, which are read for that.

        Args:
          files: names of all files that are going to be read.
        """
        reader = copy.copy(self)
        if self.separator is not None and self.classes is None:
            found = self._labels_in(files)
            if not all(_WHOLE.fullmatch(label) for label in found):
                object.__setattr__(reader, "classes", tuple(sorted(found)))
        object.__setattr__(reader, "_bound", True)
        return reader

    def __call__(self, filename: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of one file by name of the field.

        Args:
          filename: path of the file.
        """
        if self.separator is None:
            for line in lines_of(filename, self.encoding):
                if line.strip() or not self.skip_empty:
                    yield {self._fields[0].name: line}
            return
        reader = self if self._bound or self.classes is not None else self.for_files([filename])
        numbers = None
        if reader.classes is not None:
            numbers = {name: number for number, name in enumerate(reader.classes)}
        text_field, label_field = self._fields
        for line, label, text in reader._split(filename):
            known = bool(_WHOLE.fullmatch(label)) if numbers is None else label in numbers
            if not known:
                classes = list(numbers or ())
                what = f"none of the classes {classes}" if numbers else "not a whole number"
                raise DataError(
                    f"{filename}, line {line}: its label {label!r} is {what}."
                    f"{nearest(label, classes)}"
                )
            number = int(label) if numbers is None else numbers[label]
            yield {text_field.name: text, label_field.name: number}

    def _labels_in(self, files: Iterable[str]) -> set[str]:
        """Collect the labels of all files but those that fail: these will fail again when read."""
        found: set[str] = set()
        failures: list[DataError] = []
        names = list(files)
        for name in names:
            try:
                found |= {label for _, label, _ in self._split(name)}
            except DataError as error:
                failures.append(error)
        if failures and len(failures) == len(names):
            raise failures[0]
        return found

    def _split(self, filename: str) -> Iterator[tuple[int, str, str]]:
        """Yield the number, the label and the text of each line."""
        assert self.separator is not None
        for number, line in enumerate(lines_of(filename, self.encoding), 1):
            if self.skip_empty and not line.strip():
                continue
            first = self.label == "first"
            cut = line.partition if first else line.rpartition
            before, sign, after = cut(self.separator)
            if not sign:
                hint = (
                    "" if line.strip() else " It is empty: skip_empty=True leaves such lines out."
                )
                raise DataError(
                    f"{filename}, line {number}: there is no {self.separator!r} between label and "
                    f"text.{hint}"
                )
            label, text = (before, after) if first else (after, before)
            yield number, label.strip(), text

"""Read images whose labels are in a CSV file, one row an image."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from dovetail.data.readers.image import read_encoded, read_image
from dovetail.data.readers.image_fields import image_and_label, tell_image
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError, nearest

_WHOLE = re.compile(r"-?[0-9]+")


class Entry(NamedTuple):
    """One row of the table: where it stands, the image's path, and the label as it is written."""

    where: str
    image: str
    label: str


@dataclass(frozen=True)
class ImageTable:
    """A reader of images whose labels are in a CSV file, with one image a row: its path, its label.

    Either the files to prepare are CSV files, and every image that they name is read; or they are
    the images, and `table` is the CSV file with their labels: then several processes read, one
    image that fails is one file that fails, and images in no row are refused.

    Labels that are all numbers are these numbers; else each is its index in the sorted labels,
    and the labels are kept as `classes` in the records' metadata. Images are read as `ImageFolder`
    reads them.

    Args:
      table: the CSV file, where the files to prepare are the images; None where they are CSV
        files themselves.
      schema: as for `ImageFolder`, though the label may be of a float type. None tells it from the
        files: `image`, as `tell_image` does, and `label`, int64, or float64 for other numbers.
      image: the column of the images' paths: its name in the first line, or its place from 0.
      label: the column of the labels, likewise.
      root: folder that the paths begin from; None is the folder of the CSV file.
      header: whether the first line names the columns. Without, `image` and `label` are places.
      delimiter: what stands between two columns.
      classes: labels in the order of their indices; None takes them from the files.
      check: whether to decode images that are kept encoded once, to find damaged ones.

    Raises:
      DataError: the schema or the options are of another kind.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "pets.csv").write_text("file,kind\\na.png,dog\\nb.png,cat\\n")
    >>> schema = Schema([Field("image", (8, 8, 3), "uint8"), Field("label", (), "int64")])
    >>> ImageTable(schema).for_files([str(folder / "pets.csv")]).metadata
    {'classes': ['cat', 'dog']}
    """

    schema: Schema | None = None
    table: str | None = None
    image: str | int = 0
    label: str | int = 1
    root: str | None = None
    header: bool = True
    delimiter: str = ","
    classes: Sequence[str] | None = None
    check: bool = True
    _fields: tuple[Field, Field] | None = field(init=False, repr=False, compare=False)
    _labels: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("image", "label"):
            column = getattr(self, name)
            if isinstance(column, bool) or not isinstance(
                column, int if not self.header else int | str
            ):
                raise DataError(
                    f"ImageTable: {name} must be a column's name, or its place from 0 (only that "
                    f"without a header); got {column!r}."
                )
        if not isinstance(self.delimiter, str) or len(self.delimiter) != 1:
            raise DataError(f"ImageTable: delimiter must be one sign; got {self.delimiter!r}.")
        if self.classes is not None:
            classes = tuple(str(one) for one in self.classes)
            if isinstance(self.classes, str) or len(set(classes)) != len(classes):
                raise DataError(f"ImageTable: classes must name each once; got {self.classes!r}.")
            object.__setattr__(self, "classes", classes)
        fields = None
        if self.schema is not None:
            what = "Images named in a table are read"
            fields = image_and_label(self.schema, what, "Give another, or a reader of your own.")
        object.__setattr__(self, "_fields", fields)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the records keep beside the rows: the classes, where labels are their indices."""
        return {} if self.classes is None else {"classes": list(self.classes)}

    def for_files(self, names: Iterable[str]) -> ImageTable:
        """Return this reader with the classes of these tables' labels, and a schema.

        Args:
          names: the CSV files, or the images of `table`.

        Raises:
          DataError: naming the file: it can't be read, or lacks a column; an image is in no row
            of `table`, or in two with different labels; or there is no row.
        """
        names = list(names)
        if self.table is None:
            entries = [entry for name in names for entry in self.entries(name)]
        else:
            entries = _entries_of(names, self.table, self.entries(self.table))
        if not entries:
            raise DataError(f"There is no image in the table {', '.join(names)}.")
        labels = {entry.label for entry in entries}
        numbers = all(_number(label) is not None for label in labels)
        classes = self.classes
        if classes is None and not numbers:
            classes = tuple(sorted(labels))
        schema = self.schema
        if schema is None:
            whole = classes is not None or all(_WHOLE.fullmatch(label) for label in labels)
            image = tell_image([entry.image for entry in entries])
            schema = Schema([image, Field("label", (), "int64" if whole else "float64")])
        made = replace(self, schema=schema, classes=classes)
        if self.table is not None:
            object.__setattr__(made, "_labels", {one.image: one.label for one in entries})
        return made

    def __call__(self, filename: str) -> Iterator[dict[str, Any]]:
        """Yield the images of one CSV file and their labels; or one image of `table`, with its own.

        Args:
          filename: path of the CSV file, or of the image.

        Raises:
          DataError: naming the file, the line and the image: what is wrong with it.
        """
        if self._fields is None or (self.table is not None and filename not in self._labels):
            raise DataError(
                f"ImageTable has not seen '{filename}' among its files: call for_files(names) "
                "first, with all of them."
            )
        if self.table is not None:
            yield self._row(filename, self._labels[filename], self._fields)
            return
        for entry in self.entries(filename):
            try:
                yield self._row(entry.image, entry.label, self._fields)
            except DataError as error:
                raise DataError(f"{entry.where}: {error}") from error

    def _row(self, name: str, text: str, fields: tuple[Field, Field]) -> dict[str, Any]:
        image, label = fields
        if image.is_numeric:
            value = read_image(name, image)
        else:
            value = read_encoded(name, image, check=self.check)
        return {image.name: value, label.name: self._label_of(text)}

    def entries(self, filename: str) -> Iterator[Entry]:
        """Yield the rows of one table, without opening the images.

        Args:
          filename: path of the CSV file.

        Raises:
          DataError: naming the file, and the line: it can't be read, or lacks a column.
        """
        root = os.path.dirname(filename) if self.root is None else self.root
        try:
            with open(filename, encoding="utf-8-sig", newline="") as file:
                lines = csv.reader(file, delimiter=self.delimiter, strict=True)
                heads = next(lines, []) if self.header else None
                image, label = (self._place(c, heads, filename) for c in (self.image, self.label))
                for line in lines:
                    where = f"{filename}, line {lines.line_num}"
                    if not line:
                        continue
                    if len(line) <= max(image, label) or (heads and len(line) != len(heads)):
                        expected = len(heads) if heads else f"at least {max(image, label) + 1}"
                        raise DataError(f"{where}: it has {len(line)} columns, not {expected}.")
                    path = os.path.join(root, line[image]).replace(os.sep, "/")
                    yield Entry(where, path, line[label])
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            said = getattr(error, "strerror", None) or str(error)
            raise DataError(f"{filename}: the table can't be read ({said}).") from error

    def _place(self, column: str | int, heads: list[str] | None, filename: str) -> int:
        if heads is None:
            return int(column)
        if isinstance(column, int) and 0 <= column < len(heads):
            return column
        if column in heads:
            return heads.index(str(column))
        raise DataError(
            f"{filename}: there is no column {column!r}; its first line names {heads}."
            f"{nearest(str(column), heads)}"
        )

    def _label_of(self, text: str) -> float | int:
        if self.classes is not None:
            if text not in self.classes:
                raise DataError(
                    f"the label '{text}' is none of the classes {list(self.classes)}."
                    f"{nearest(text, self.classes)}"
                )
            return self.classes.index(text)
        number = _number(text)
        if number is None:
            raise DataError(
                f"the label '{text}' is not a number. Give classes=[...], the labels in the order "
                "of their indices."
            )
        return number


def _entries_of(names: list[str], table: str, rows: Iterable[Entry]) -> list[Entry]:
    """Find the row of each image, by the whole paths of both."""
    by_path: dict[str, Entry] = {}
    for row in rows:
        first = by_path.setdefault(os.path.abspath(row.image), row)
        if first.label != row.label:
            raise DataError(
                f"{row.where}: '{row.image}' has the label '{row.label}' here, and "
                f"'{first.label}' before ({first.where})."
            )
    found: list[Entry] = []
    for name in names:
        row = by_path.get(os.path.abspath(name))
        if row is None:
            example = next(iter(by_path), "none")
            raise DataError(
                f"{name}: no row of '{table}' names it, so it has no label. The first path there "
                f"is '{example}'; root=... is the folder that the table's paths begin from."
            )
        found.append(Entry(row.where, name, row.label))
    return found


def _number(text: str) -> float | int | None:
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None

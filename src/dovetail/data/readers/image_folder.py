"""Read images that lie in one folder per class, as `.../CLASS/name.png`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dovetail.data.readers.image import is_image_shape, read_image
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError, nearest

_WHOLE = re.compile(r"[0-9]+")


def image_folder_schema(height: int | None, width: int | None, channels: int = 3) -> Schema:
    """Return the schema of images in one folder per class: `image` as uint8, `label` as int64.

    Args:
      height: of every image, in pixels; None where it varies.
      width: likewise.
      channels: 1 for greyscale, 3 for red, green and blue.

    >>> print(image_folder_schema(28, 28, 1))
    'image': uint8 [28, 28, 1]; 'label': int64 [1]
    """
    if channels not in (1, 3):
        raise DataError(f"channels must be 1 (greyscale) or 3 (RGB); got {channels!r}.")
    image = Field("image", (height, width, channels), "uint8")
    return Schema([image, Field("label", (1,), "int64")])


@dataclass(frozen=True)
class ImageFolder:
    """A reader for `prepare`: the image, and the name of its folder as the label.

    Where all folder names are whole numbers, the label is that number; else it is the name's
    index in the sorted names, and the names are kept as `classes` in the records' metadata. For
    a second data set give those classes, so that a label means the same in both.

    An image is converted to the channels that the schema has: one is greyscale (ITU-R 601-2
    luma), three RGB. Its pixels are otherwise stored as they are in the file: never resized, and
    not turned as a camera's orientation mark says. Refused, since something would be lost: an
    image of another size, one that is transparent somewhere, moving pictures, and 16 bits where
    the schema's dtype holds fewer.

    Args:
      schema: exactly two fields: numbers of shape [height, width], [height, width, 1] or
        [height, width, 3] for the image, and whole numbers of shape [] or [1] for the label.
      classes: folder names in the order of their labels; None takes them from the files.

    Raises:
      DataError: the schema has not these two fields, or a class is there twice.

    >>> reader = ImageFolder(image_folder_schema(28, 28, 1))
    >>> reader.for_files(["pets/cat/1.png", "pets/dog/1.png"]).metadata
    {'classes': ['cat', 'dog']}
    """

    schema: Schema
    classes: tuple[str, ...] | None = None
    _image: Field = field(init=False, repr=False, compare=False)
    _label: Field = field(init=False, repr=False, compare=False)

    def __init__(self, schema: Schema, classes: Sequence[str] | None = None) -> None:
        image, label = _image_and_label(schema)
        if classes is not None and len(set(classes)) != len(classes):
            twice = sorted({name for name in classes if list(classes).count(name) > 1})
            raise DataError(f"ImageFolder: each class must be named once; {twice} is there again.")
        object.__setattr__(self, "schema", schema)
        object.__setattr__(self, "classes", None if classes is None else tuple(classes))
        object.__setattr__(self, "_image", image)
        object.__setattr__(self, "_label", label)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the records keep beside the rows: the classes, where labels are their indices."""
        return {} if self.classes is None else {"classes": list(self.classes)}

    def for_files(self, files: Iterable[str]) -> ImageFolder:
        """Return this reader with the classes that these files have, unless it has them already.

        Args:
          files: names of all files that are going to be read.

        Raises:
          DataError: a folder is none of the classes given, or two stand for one number, such
            as `7` and `07`.
        """
        if self.classes is not None:
            for name in files:
                self._label_of(name)
            return self
        names = sorted({_class_name(name) for name in files})
        if not all(_WHOLE.fullmatch(name) for name in names):
            return ImageFolder(self.schema, names)
        if len({int(name) for name in names}) != len(names):
            raise DataError(f"Two folders stand for one number: {names}. Rename or join them.")
        return self

    def __call__(self, filename: str) -> dict[str, Any]:
        """Read one image and its label, as a row by field name.

        Args:
          filename: path of the image, with forward slashes.

        Raises:
          DataError: naming the file: it does not decode, does not fit, or its class is unknown.
        """
        label = self._label_of(filename)
        return {self._image.name: read_image(filename, self._image), self._label.name: label}

    def _label_of(self, filename: str) -> int:
        name = _class_name(filename)
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
                "ImageFolder(schema, classes=[...]) with the folder names in order of their labels."
            )
        return int(name)


def _class_name(filename: str) -> str:
    return os.path.basename(os.path.dirname(os.path.abspath(filename)))


def _image_and_label(schema: Schema) -> tuple[Field, Field]:
    """Find the field that an image goes to and the one for its label; there must be no other."""
    images = [f for f in schema.values() if f.is_numeric and is_image_shape(f.shape)]
    labels = [f for f in schema.values() if "int" in f.dtype and f.shape in ((), (1,))]
    if len(schema) != 2 or len(images) != 1 or len(labels) != 1:
        raise DataError(
            "A folder of images is read without prepare_data_for_a_single_file only where the "
            "schema has exactly two fields: the image (numbers of shape [height, width], "
            "[height, width, 1] or [height, width, 3]) and the label (whole numbers of shape [] "
            f"or [1]). This schema has {schema}. Write prepare_data_for_a_single_file for it."
        )
    return images[0], labels[0]

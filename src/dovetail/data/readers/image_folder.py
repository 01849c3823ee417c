"""Read images that lie in one folder per class, as `.../CLASS/name.png`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dovetail.data.readers.class_folders import ClassFolders
from dovetail.data.readers.image import read_encoded, read_image
from dovetail.data.readers.image_fields import image_and_label, tell_image
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

_WHAT = "A folder of images is read without prepare_data_for_a_single_file"
_CURE = "Write prepare_data_for_a_single_file for it."


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

    A field of dtype "bytes" for the image keeps the file's bytes, encoded as they are (PNG, JPEG,
    WebP or what else Pillow reads), to be decoded with the batch; sizes and channels may differ.

    Args:
      schema: exactly two fields: numbers of shape [height, width], [height, width, 1] or
        [height, width, 3], or bytes of shape [], for the image; and whole numbers of shape [] or
        [1] for the label. None tells it from the files: `image`, as `tell_image` does, and
        `label`.
      classes: folder names in the order of their labels; None takes them from the files.
      check: whether to decode images that are kept encoded once, to find damaged ones.

    Raises:
      DataError: the schema has not these two fields, or a class is there twice.

    >>> reader = ImageFolder(image_folder_schema(28, 28, 1))
    >>> reader.for_files(["pets/cat/1.png", "pets/dog/1.png"]).metadata
    {'classes': ['cat', 'dog']}
    """

    schema: Schema | None = None
    classes: tuple[str, ...] | None = None
    check: bool = True
    _folders: ClassFolders = field(init=False, repr=False, compare=False)
    _image: Field = field(init=False, repr=False, compare=False)
    _label: Field = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        schema: Schema | None = None,
        classes: Sequence[str] | None = None,
        *,
        check: bool = True,
    ) -> None:
        image = label = None
        if schema is not None:
            image, label = image_and_label(schema, _WHAT, _CURE)
            if "int" not in label.dtype:
                raise DataError(
                    f"The label of a folder is a whole number; the schema's field is {label}."
                )
        folders = ClassFolders(classes, "ImageFolder")
        object.__setattr__(self, "schema", schema)
        object.__setattr__(self, "classes", folders.classes)
        object.__setattr__(self, "check", check)
        object.__setattr__(self, "_folders", folders)
        object.__setattr__(self, "_image", image)
        object.__setattr__(self, "_label", label)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the records keep beside the rows: the classes, where labels are their indices."""
        return self._folders.metadata

    def for_files(self, files: Iterable[str]) -> ImageFolder:
        """Return this reader with these files' classes (see `ClassFolders`) and a schema.

        Args:
          files: names of all files that are going to be read.

        Raises:
          DataError: a folder is none of the classes given, or two stand for one number, such
            as `7` and `07`.
        """
        names = list(files)
        classes = self._folders.for_files(names).classes
        schema = self.schema
        if schema is None:
            schema = Schema([tell_image(names), Field("label", (), "int64")])
        return ImageFolder(schema, classes, check=self.check)

    def __call__(self, filename: str) -> dict[str, Any]:
        """Read one image and its label, as a row by field name.

        Args:
          filename: path of the image, with forward slashes.

        Raises:
          DataError: naming the file: it does not decode, does not fit, or its class is unknown.
        """
        if self.schema is None:
            raise DataError("ImageFolder has no schema yet: give one, or call for_files first.")
        label = self._folders.label_of(filename)
        if self._image.is_numeric:
            pixels = read_image(filename, self._image)
            return {self._image.name: pixels, self._label.name: label}
        encoded = read_encoded(filename, self._image, check=self.check)
        return {self._image.name: encoded, self._label.name: label}

"""Which fields of a schema images and their labels go to, and what the images of files are."""

from __future__ import annotations

from collections.abc import Sequence

from dovetail.data.readers.image import image_shape, is_image_shape
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

_LOOKED_AT = 100  # images whose headers tell what all are


def image_and_label(schema: Schema, what: str, cure: str) -> tuple[Field, Field]:
    """Find the field that an image goes to and the one for its label; there must be no other.

    Args:
      schema: two fields: numbers of an image's shape, or bytes of shape []; and numbers of shape
        [] or [1].
      what: what is read, for the message.
      cure: what to do where they are not these, for the message.

    Raises:
      DataError: the schema has other fields.

    >>> schema = Schema([Field("photo", (), "bytes"), Field("kind", (), "int64")])
    >>> [one.name for one in image_and_label(schema, "", "")]
    ['photo', 'kind']
    """
    images = [
        one
        for one in schema.values()
        if (one.is_numeric and is_image_shape(one.shape))
        or (one.dtype == "bytes" and one.shape == ())
    ]
    labels = [one for one in schema.values() if one.is_numeric and one.shape in ((), (1,))]
    if len(schema) != 2 or len(images) != 1 or len(labels) != 1:
        raise DataError(
            f"{what} only where the schema has exactly two fields: the image (numbers of shape "
            "[height, width], [height, width, 1] or [height, width, 3]; or bytes of shape [], "
            "which keep it encoded) and the label (numbers of shape [] or [1]). "
            f"This schema has {schema}. {cure}"
        )
    return images[0], labels[0]


def tell_image(names: Sequence[str]) -> Field:
    """Tell the field `image` for these files from the headers of up to 100, spread evenly.

    Args:
      names: paths of images.

    Returns:
      uint8 [height, width, channels] where those looked at are of one size, with one channel if
      all are greyscale and else three; bytes, which keep the images encoded, where sizes differ.

    Raises:
      DataError: naming the first file, if no header can be read, or there is no file. One that
        can't be read beside others that can is left for when all are read.
    """
    if not names:
        raise DataError("There is no image to tell a schema from.")
    looked_at = names[:: max(1, -(-len(names) // _LOOKED_AT))]
    shapes: set[tuple[int, int, int]] = set()
    failed: DataError | None = None
    for name in looked_at:
        try:
            shapes.add(image_shape(name))
        except DataError as error:
            failed = failed or error
    if failed is not None and not shapes:
        raise failed
    if len({shape[:2] for shape in shapes}) > 1:
        return Field("image", (), "bytes")
    height, width, _ = next(iter(shapes))
    return Field("image", (height, width, max(shape[2] for shape in shapes)), "uint8")

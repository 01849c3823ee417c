"""Decode one image file to what a schema's field expects, losing nothing unsaid."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dovetail.data.schema import Field
from dovetail.errors import DataError

# Several frames in these are moving pictures. A phone's JPEG may hold a preview as its second.
_MOVING = ("GIF", "PNG", "WEBP", "TIFF")
_MORE_THAN_8_BITS = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def is_image_shape(shape: tuple[int | None, ...]) -> bool:
    """Whether a field of this shape holds an image: [h, w], [h, w, 1] or [h, w, 3].

    >>> is_image_shape((28, 28)), is_image_shape((None, None, 3)), is_image_shape((28,))
    (True, True, False)
    """
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))


def read_image(filename: str, wanted: Field) -> np.ndarray:
    """Decode an image file to the size and channels of a field.

    Colour becomes greyscale as ITU-R 601-2 luma; a palette is resolved; transparency is dropped
    where every pixel is opaque.

    Args:
      filename: path of the image.
      wanted: field of shape [height, width], [height, width, 1] or [height, width, 3].

    Returns:
      array with the field's dimensions: uint8, or uint16, int32 or float32 for a greyscale file
      of more bits, where the field's dtype holds them all.

    Raises:
      DataError: naming the file, what it is and what the field expects: it is absent, does not
        decode, is of another size, transparent somewhere, moving, or has too many bits.
    """
    try:
        with Image.open(filename) as image:
            _check(image, filename, wanted)
            pixels = _pixels(image, filename, wanted)
            return pixels.reshape(*pixels.shape[:2], *wanted.shape[2:])
    except DataError:
        raise
    except Exception as error:  # on a damaged file Pillow's decoders raise errors of many kinds
        raise _unreadable(filename, error) from error


def read_encoded(filename: str, wanted: Field, *, check: bool = True) -> bytes:
    """Read an image file as it is, for a field of dtype "bytes".

    Args:
      filename: path of the image.
      wanted: the field, for messages.
      check: whether to decode it once, so that a damaged file is found now and not in training;
        else only its header is read.

    Returns:
      the file's bytes.

    Raises:
      DataError: naming the file: it is absent, is no image, does not decode, is moving, or has
        more than 8 bits a channel, which decoding in the batch would cut.
    """
    try:
        with open(filename, "rb") as file:
            encoded = file.read()
        with Image.open(io.BytesIO(encoded)) as image:
            _check(image, filename, wanted)
            if image.mode in _MORE_THAN_8_BITS:
                cure = "It has more than 8 bits a pixel: store it with 8, or let the schema hold "
                raise _refusal(image, filename, wanted, cure + "its pixels instead of bytes.")
            if check:
                image.load()
        return encoded
    except DataError:
        raise
    except Exception as error:  # on a damaged file Pillow's decoders raise errors of many kinds
        raise _unreadable(filename, error) from error


def image_shape(filename: str) -> tuple[int, int, int]:
    """Read an image's height, width and channels (1 if greyscale, else 3) from its header.

    Raises:
      DataError: naming the file, if it is absent or no image.
    """
    try:
        with Image.open(filename) as image:
            grey = image.mode in (*_MORE_THAN_8_BITS, "1", "L", "LA", "La")
            return image.height, image.width, 1 if grey else 3
    except Exception as error:
        raise _unreadable(filename, error) from error


def _unreadable(filename: str, error: Exception) -> DataError:
    absent = isinstance(error, FileNotFoundError | PermissionError)
    cure = "" if absent else " Replace the file, or leave it out of the pattern."
    return DataError(
        f"{filename}: the image cannot be read ({type(error).__name__}: {error}).{cure}"
    )


def _check(image: Image.Image, filename: str, wanted: Field) -> None:
    """Refuse what the file's header already shows to be wrong, before anything is decoded."""
    size = (image.height, image.width)
    if any(want not in (None, got) for want, got in zip(wanted.shape, size, strict=False)):
        raise _refusal(
            image,
            filename,
            wanted,
            "Resize the images, or change the shape in the schema (None where sizes vary).",
        )
    if image.format in _MOVING and getattr(image, "is_animated", False):
        raise _refusal(image, filename, wanted, "It holds several frames: store them as files.")
    # Pillow would cut 16 bits of colour to 8 without a word.
    raw = str([tile[3] for tile in getattr(image, "tile", [])])
    if ";16" in raw and image.mode not in _MORE_THAN_8_BITS:
        raise _refusal(image, filename, wanted, "It has 16 bits a channel: store it with 8.")


def _pixels(image: Image.Image, filename: str, wanted: Field) -> np.ndarray:
    colour = len(wanted.shape) == 3 and wanted.shape[2] == 3
    if image.mode in _MORE_THAN_8_BITS:
        pixels = np.array(image)
        if image.mode == "I" and pixels.min() >= 0 and pixels.max() < 2**16:
            pixels = pixels.astype(np.uint16)  # how Pillow shows 16 bits in some formats
        if colour or not np.can_cast(pixels.dtype, wanted.numpy_dtype, "safe"):
            cure = "It has more than 8 bits a pixel: store it with 8, "
            cure += "or use one channel and a dtype such as uint16 or float32 in the schema."
            raise _refusal(image, filename, wanted, cure)
        return pixels.astype(pixels.dtype.newbyteorder("="))
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        if whole.getchannel("A").getextrema() != (255, 255):
            cure = "It is transparent in places: put it on a background and save it without alpha."
            raise _refusal(image, filename, wanted, cure)
        return np.array(whole.convert("RGB").convert("RGB" if colour else "L"))
    return np.array(image.convert("RGB" if colour else "L"))


def _refusal(image: Image.Image, filename: str, wanted: Field, cure: str) -> DataError:
    sizes = " x ".join("any" if size is None else str(size) for size in wanted.shape[:2])
    colour = "RGB" if len(wanted.shape) == 3 and wanted.shape[2] == 3 else "greyscale"
    expected = f"{sizes}, {colour}" if wanted.is_numeric else "an image of 8 bits a channel"
    return DataError(
        f"{filename}: the image is {image.height} x {image.width} pixels (height x width), mode "
        f"{image.mode}; the schema's field {wanted} expects {expected}. {cure}"
    )

"""Changes to the images of a batch: cut, padded, scaled, turned, with a part left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dovetail.data.batches.array_changes import cast_like, chosen
from dovetail.data.example_random import STREAM, uniform
from dovetail.errors import DataError, nearest

# Each use has draws of its own, so that with the same seeds they are unrelated; see augment.py.
_TURN, _ROW, _COLUMN = (n * STREAM for n in (13, 14, 15))
_PADDINGS = ("constant", "edge", "reflect", "symmetric", "wrap")
_FILTERS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


def cropped(images: np.ndarray, size: tuple[int, int], origin: Any = "center") -> np.ndarray:
    """Cut a window of one size out of each image, at one place.

    Args:
      images: [n, height, width] or [n, height, width, channels].
      size: height and width of the window.
      origin: its first row and column; or "center" or "top_left".

    Raises:
      DataError: if it does not lie within the images.

    >>> cropped(np.arange(9).reshape(1, 3, 3), (1, 2), origin=(2, 1)).tolist()
    [[[7, 8]]]
    """
    _check_images(images)
    (high, wide), (height, width) = images.shape[1:3], size
    if origin == "center":
        top, left = (high - height) // 2, (wide - width) // 2
    else:
        top, left = (0, 0) if origin == "top_left" else origin
    if min(top, left) < 0 or min(size) < 1 or top + height > high or left + width > wide:
        raise DataError(
            f"crop can't cut [{height}, {width}] at {origin!r} out of an image of "
            f"[{high}, {wide}]: resize or pad it first, or give a smaller shape."
        )
    return images[:, top : top + height, left : left + width].copy()


def padded_images(
    images: np.ndarray, widths: Any, *, mode: str = "constant", value: float = 0
) -> np.ndarray:
    """Put rows and columns around each image.

    Args:
      images: [n, height, width] or [n, height, width, channels].
      widths: how many at each side: one number; or those of rows and columns; or, for each of
        both, those before and after.
      mode: "constant", or NumPy's "edge", "reflect", "symmetric" or "wrap".
      value: of constant padding.

    >>> padded_images(np.ones((1, 1, 2), int), ((0, 1), (1, 0)), value=7).tolist()
    [[[7, 1, 1], [7, 7, 7]]]
    """
    _check_images(images)
    if mode not in _PADDINGS:
        raise DataError(f"pad's mode is one of {', '.join(_PADDINGS)}; got {mode!r}.")
    try:
        around = np.broadcast_to(
            np.array(widths).reshape(-1, 1 if np.ndim(widths) < 2 else 2), (2, 2)
        )
    except ValueError:
        around = np.full((2, 2), -1)
    if (around < 0).any() or around.dtype.kind not in "iu":
        raise DataError(
            "pad takes one number of pixels, or (rows, columns), or ((top, bottom), (left, "
            f"right)), each 0 or more; got {widths!r}."
        )
    all_widths = [(0, 0), *around.tolist(), *[(0, 0)] * (images.ndim - 3)]
    if mode == "constant":
        return np.pad(images, all_widths, constant_values=value)
    return np.pad(images, all_widths, mode)


def resized(image: np.ndarray, size: tuple[int, int], resample: str = "bilinear") -> np.ndarray:
    """Scale one image, by Pillow: when it gets smaller, with a filter as wide as that asks for.

    Args:
      image: [height, width] or [height, width, channels], of any dtype of numbers; what is not
        uint8 is computed in float32.
      size: height and width to scale to.
      resample: "nearest", "bilinear", "bicubic", "lanczos", "box" or "hamming".

    Returns:
      [*size] or [*size, channels], of the same dtype.
    """
    if len(size) != 2 or min(size) < 1:
        raise DataError(f"resize takes (height, width), each 1 or more; got {size!r}.")
    if image.shape[:2] == tuple(size):
        return image.copy()
    kind = _filter(resample, _FILTERS)
    return _by_pillow(image, lambda plane: plane.resize((size[1], size[0]), kind))


def rotated(
    image: np.ndarray, angle: float, *, fill: float = 0, resample: str = "bilinear"
) -> np.ndarray:
    """Turn one image about its centre, counter-clockwise, by Pillow; its size stays.

    Args:
      image: [height, width] or [height, width, channels], of any dtype of numbers; what is not
        uint8 is computed in float32.
      angle: in degrees.
      fill: what the corners get that were outside.
      resample: "nearest", "bilinear" or "bicubic".

    >>> rotated(np.array([[1, 2], [3, 4]], np.uint8), 90).tolist()
    [[2, 4], [1, 3]]
    """
    kind = _filter(resample, _FILTERS[:3])

    def turn(plane: Any) -> Any:
        several = len(plane.getbands()) > 1
        color = (int(fill),) * len(plane.getbands()) if several else fill
        return plane.rotate(angle, kind, fillcolor=color if plane.mode != "L" else int(fill))

    return _by_pillow(image, turn)


def angles(seeds: np.ndarray, low: float, high: float, draw: int) -> np.ndarray:
    """Draw an angle for each item, float32 [n]."""
    return uniform(seeds, low, high, draw=_TURN + draw)


def cut_out(
    images: np.ndarray,
    seeds: np.ndarray,
    size: int | tuple[int, int],
    *,
    count: int = 1,
    value: float = 0,
    p: float = 1.0,
    draw: int = 0,
) -> np.ndarray:
    """Cover parts of some images by rectangles, whose centres lie anywhere within the image.

    Args:
      images: [n, height, width] or [n, height, width, channels].
      seeds: int64 [n], of the images.
      size: of a rectangle: height and width, or one number for both.
      count: rectangles an image; they may overlap, and end at the image's edge.
      value: what covers it.
      p: how likely each image gets any.
      draw: another number gives other places for the same seeds.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
    2017.
    """
    _check_images(images)
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width, count) < 1:
        raise DataError(f"cutout takes a size and a count of 1 or more; got {size!r}, {count!r}.")
    at = np.flatnonzero(chosen(seeds, p, draw))
    high, wide = images.shape[1:3]
    centres = []
    for stream, length in [(_ROW, high), (_COLUMN, wide)]:
        drawn = uniform(seeds[at], shape=(count,), draw=stream + draw)
        centres.append(np.minimum((drawn * length).astype(np.int64), length - 1))
    made = images.copy()
    for item, rows, columns in zip(at.tolist(), *centres, strict=True):
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            top, left = row - height // 2, column - width // 2
            made[item, max(top, 0) : top + height, max(left, 0) : left + width] = value
    return made


def _by_pillow(image: np.ndarray, change: Callable[[Any], Any]) -> np.ndarray:
    """Change one image of any dtype and number of channels by Pillow."""
    from PIL import Image  # slow to import

    _check_images(image[None])
    if image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2] == 3):
        return np.array(change(Image.fromarray(image)))
    if image.dtype.kind not in "biuf":
        raise DataError(f"Images are of numbers; got {image.dtype}.")
    # What Pillow has no kind for goes channel by channel. Opacity, too: Pillow would weigh by it.
    planes = image[:, :, None] if image.ndim == 2 else image
    plain = planes if image.dtype == np.uint8 else planes.astype(np.float32)
    made = [
        np.asarray(change(Image.fromarray(np.ascontiguousarray(plain[:, :, at]))))
        for at in range(planes.shape[2])
    ]
    whole = np.stack(made, -1) if image.ndim == 3 else made[0]
    if image.dtype == bool:
        return whole >= 0.5
    return cast_like(whole, image.dtype)


def _filter(name: str, known: Sequence[str]) -> Any:
    from PIL import Image  # slow to import

    if name not in known:
        raise DataError(
            f"resample is one of {', '.join(known)}; got {name!r}.{nearest(str(name), known)}"
        )
    return Image.Resampling[name.upper()]


def _check_images(images: np.ndarray) -> None:
    if images.ndim not in (3, 4) or min(images.shape[1:]) < 1:
        raise DataError(
            "Images are [height, width] or [height, width, channels] each; got "
            f"{list(images.shape[1:])}."
        )

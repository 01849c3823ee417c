"""Augmentation of batches, each example by its own seed; alike for NumPy arrays and tensors.

In an `input_fn` the seeds are `records.seeds`; put among the features they reach `preprocess`,
where the same functions work on the device. What an example gets depends on its seed and on
`draw` alone. `uniform` and `integers` are there for augmentations of one's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dovetail.data.example_random import STREAM, integers, uniform
from dovetail.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    Batch = TypeVar("Batch", np.ndarray, Tensor)

__all__ = ["integers", "random_crop", "random_flip", "uniform"]

# Each augmentation has draws of its own, so that with the same seeds they are unrelated.
_AXES = {"horizontal": (2, 2 * STREAM), "vertical": (1, 3 * STREAM)}
_TOPS, _LEFTS = 4 * STREAM, 5 * STREAM
_FEW = 8  # channels
_LARGE = 1 << 14  # bytes of an image, from which on images are mirrored one by one


def random_flip(
    images: Batch,
    seeds: Any,
    *,
    axis: str = "horizontal",
    probability: float = 0.5,
    draw: int = 0,
) -> Batch:
    """Mirror some of the images.

    Args:
      images: [n, height, width] or [n, height, width, channels], of any dtype.
      seeds: int64 [n]; an array or tensor, as the images are.
      axis: "horizontal" swaps left and right, "vertical" top and bottom.
      probability: how likely each image is mirrored.
      draw: another number gives other choices for the same seeds.

    Returns:
      new images, as the given ones.

    Raises:
      DataError: if the arguments do not fit together.

    >>> images = np.arange(6).reshape(2, 1, 3)
    >>> random_flip(images, np.array([7, 8]), probability=1).tolist()
    [[[2, 1, 0]], [[5, 4, 3]]]
    """
    if axis not in _AXES:
        raise DataError(f"random_flip's axis is 'horizontal' or 'vertical'; got {axis!r}.")
    _check("random_flip", images, seeds)
    dim, stream = _AXES[axis]
    chosen: Any = uniform(seeds, draw=stream + draw) < probability
    if isinstance(images, np.ndarray):
        if images[:1].nbytes < _LARGE:
            flipped = images.copy()
            flipped[chosen] = _mirrored(images[chosen], dim)
            return flipped
        flipped = np.empty_like(images)
        for at, one in enumerate(chosen.tolist()):  # each is copied once, while it is at hand
            flipped[at] = _mirrored(images[at : at + 1], dim)[0] if one else images[at]
        return flipped
    return images.flip(dim).where(chosen.reshape(-1, *[1] * (images.ndim - 1)), images)


def random_crop(
    images: Batch, seeds: Any, size: tuple[int, int], *, padding: int = 0, draw: int = 0
) -> Batch:
    """Cut a window of one size out of each image, anywhere within it.

    Args:
      images: [n, height, width] or [n, height, width, channels], of any dtype.
      seeds: int64 [n]; an array or tensor, as the images are.
      size: height and width of the window.
      padding: so many rows and columns of zeros are put around the image first.
      draw: another number gives other windows for the same seeds.

    Returns:
      new images [n, *size] or [n, *size, channels].

    Raises:
      DataError: if the arguments do not fit together, or the window is larger than the image.

    >>> random_crop(np.ones((2, 8, 8, 3)), np.array([7, 8]), (6, 5)).shape
    (2, 6, 5, 3)
    """
    _check("random_crop", images, seeds)
    (count, high, wide), (height, width) = images.shape[:3], size
    rows, columns = high + 2 * padding - height + 1, wide + 2 * padding - width + 1
    if min(rows, columns, height, width) < 1 or padding < 0:
        raise DataError(
            f"random_crop can't cut [{height}, {width}] out of images of [{high}, {wide}] with "
            f"padding {padding}. Give a smaller size or more padding."
        )
    tops: Any = integers(seeds, 0, rows, draw=_TOPS + draw)
    lefts: Any = integers(seeds, 0, columns, draw=_LEFTS + draw)
    shape = (count, high + 2 * padding, wide + 2 * padding, *images.shape[3:])
    if isinstance(images, np.ndarray):
        wider = images
        if padding:
            wider = np.zeros(shape, images.dtype)
            wider[:, padding : padding + high, padding : padding + wide] = images
        cut = np.empty((count, height, width, *shape[3:]), images.dtype)
        for at, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
            cut[at] = wider[at, top : top + height, left : left + width]
        return cut
    import torch  # not at the top: what only prepares records does without it

    def steps(size: int) -> Tensor:
        return torch.arange(size, device=images.device)

    within: Any = images
    if padding:
        within = images.new_zeros(shape)
        within[:, padding : padding + high, padding : padding + wide] = images
    at = steps(count)[:, None, None]
    down = (tops[:, None] + steps(height))[:, :, None]
    return within[at, down, (lefts[:, None] + steps(width))[:, None, :]]


def _mirrored(images: np.ndarray, dim: int) -> np.ndarray:
    if images.ndim < 4 or dim < 2 or images.shape[3] > _FEW:
        return np.flip(images, dim)
    # Copying backwards pixel by pixel, 3 bytes each, takes NumPy 6 times as long as plane by plane.
    mirrored = np.empty_like(images)
    for channel in range(images.shape[3]):
        mirrored[..., channel] = images[:, :, ::-1, channel]
    return mirrored


def _check(what: str, images: Any, seeds: Any) -> None:
    if isinstance(images, np.ndarray) != isinstance(seeds, np.ndarray):
        raise DataError(
            f"{what} takes images and seeds of one kind, both arrays or both tensors; got "
            f"{type(images).__name__} and {type(seeds).__name__}."
        )
    if images.ndim not in (3, 4) or len(images) != len(seeds):
        raise DataError(
            f"{what} takes images [n, height, width] or [n, height, width, channels] and n seeds; "
            f"got images of shape {list(images.shape)} and {len(seeds)} seeds."
        )

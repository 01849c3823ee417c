"""A batch of images, with actions that are ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from dovetail.data import augment
from dovetail.data.batches.actions import action
from dovetail.data.batches.array_changes import chosen
from dovetail.data.batches.arrays import ArrayBatch, Components
from dovetail.data.batches.image_changes import (
    angles,
    cropped,
    cut_out,
    padded_images,
    resized,
    rotated,
)
from dovetail.data.batches.inbatch import assembled, each
from dovetail.data.batches.inbatch_targets import Call
from dovetail.data.decode import decode_image
from dovetail.errors import DataError

_WORTH_THREADS = 1 << 18  # bytes of images: below, threads cost more than they save


class ImagesBatch(ArrayBatch):
    """A batch of images, [height, width] or [height, width, channels] each, of one size or several.

    The actions are those of `ArrayBatch`, and others that keep an image's dtype. Whoever names
    components in a class of their own has `ImagesBatch` as its base.

    >>> class Digits(ImagesBatch):
    ...     components = "images", "labels"
    >>> batch = Digits([1, 2], preloaded=(np.ones((2, 8, 8, 1), np.uint8), np.array([3, 4])))
    >>> batch.random_rotate(angle=(-30, 30)).crop((6, 6)).images.shape
    (2, 6, 6, 1)
    """

    @action
    def decode(
        self,
        size: tuple[int, int] | None = None,
        *,
        channels: int = 3,
        component: Components = None,
    ) -> Self:
        """Decode images that are the bytes of files, such as those of records; by threads.

        Args:
          size: height and width to scale to; None: as they are, in a list if they differ.
          channels: 1 (grey), 3 (RGB) or 4 (RGB and opacity).

        Raises:
          ItemsError: naming the items that hold no image.
        """
        for name in self.changed_components(component):
            calls: list[Call] = [((one, size), {"channels": channels}) for one in self.column(name)]
            images = each(decode_image, calls, self.indices, "threads", "decode")
            self._set(name, assembled(images))
        return self

    @action
    def crop(
        self,
        shape: tuple[int, int],
        origin: Any = "center",
        *,
        padding: int = 0,
        component: Components = None,
    ) -> Self:
        """Cut a window out of each image.

        Args:
          shape: its height and width.
          origin: its first row and column; or "center", "top_left", or "random": anywhere.
          padding: so many rows and columns of zeros are put around the image first.
        """
        if isinstance(origin, str) and origin not in ("center", "top_left", "random"):
            raise DataError(
                'crop\'s origin is "center", "top_left", "random", or (row, column); got '
                f"{origin!r}."
            )
        draw = self.next_draw() if origin == "random" else 0

        def cut(images: np.ndarray, seeds: np.ndarray) -> np.ndarray:
            if origin == "random":
                return augment.random_crop(images, seeds, shape, padding=padding, draw=draw)
            wider = padded_images(images, padding) if padding else images
            return cropped(wider, shape, origin)

        return self.change(cut, component)

    @action
    def flip(
        self, axis: str = "horizontal", *, p: float = 1.0, component: Components = None
    ) -> Self:
        """Mirror images: "horizontal" swaps left and right, "vertical" top and bottom.

        Args:
          p: how likely each image is mirrored.
        """
        chosen(self.seeds[:0], p, 0)  # refuses what is no probability
        draw = self.next_draw()
        return self.change(
            lambda images, seeds: augment.random_flip(
                images, seeds, axis=axis, probability=p, draw=draw
            ),
            component,
        )

    @action
    def pad(
        self,
        width: Any,
        *,
        mode: str = "constant",
        value: float = 0,
        component: Components = None,
    ) -> Self:
        """Put rows and columns around each image; see `padded_images`.

        Args:
          width: how many at each side: one number, (rows, columns), or ((top, bottom),
            (left, right)).
        """
        return self.change(
            lambda images, seeds: padded_images(images, width, mode=mode, value=value), component
        )

    @action
    def resize(
        self,
        shape: tuple[int, int],
        *,
        resample: str = "bilinear",
        component: Components = None,
    ) -> Self:
        """Scale each image to a height and width; see `resized`."""
        return self._each_image(
            lambda image, _: resized(image, shape, resample), np.zeros(len(self)), component
        )

    @action
    def rotate(
        self,
        angle: float,
        *,
        p: float = 1.0,
        fill: float = 0,
        resample: str = "bilinear",
        component: Components = None,
    ) -> Self:
        """Turn images about their centres; see `rotated`.

        Args:
          angle: in degrees, counter-clockwise.
          p: how likely each image is turned.
          fill: what the corners get that were outside.
        """
        return self._turned((angle, angle), p, fill, resample, component)

    @action
    def random_rotate(
        self,
        angle: float | tuple[float, float] = (-30.0, 30.0),
        *,
        p: float = 1.0,
        fill: float = 0,
        resample: str = "bilinear",
        component: Components = None,
    ) -> Self:
        """Turn each image by an angle of its own.

        Args:
          angle: the least and the greatest, in degrees; one number a: from -a to a.
          p, fill: as for `rotate`.
        """
        bounds = (-abs(angle), abs(angle)) if isinstance(angle, int | float) else tuple(angle)
        if len(bounds) != 2 or bounds[0] > bounds[1]:
            raise DataError(f"random_rotate takes (least, greatest) angle; got {angle!r}.")
        return self._turned(bounds, p, fill, resample, component)

    @action
    def cutout(
        self,
        size: int | tuple[int, int],
        *,
        count: int = 1,
        value: float = 0,
        p: float = 1.0,
        component: Components = None,
    ) -> Self:
        """Cover parts of images by rectangles; see `cut_out`.

        Args:
          size: of a rectangle: height and width, or one number for both.
          p: how likely each image gets any.
        """
        draw = self.next_draw()
        return self.change(
            lambda images, seeds: cut_out(
                images, seeds, size, count=count, value=value, p=p, draw=draw
            ),
            component,
        )

    def _turned(
        self,
        bounds: tuple[float, float],
        p: float,
        fill: float,
        resample: str,
        component: Components,
    ) -> Self:
        draw = self.next_draw()
        turns = np.where(chosen(self.seeds, p, draw), angles(self.seeds, *bounds, draw), 0.0)
        return self._each_image(
            lambda image, turn: rotated(image, turn, fill=fill, resample=resample),
            turns,
            component,
        )

    def _each_image(
        self,
        fn: Callable[[np.ndarray, float], np.ndarray],
        numbers: np.ndarray,
        component: Components,
    ) -> Self:
        for name in self.changed_components(component):
            images = [np.asarray(image) for image in self.column(name)]
            pairs = zip(images, numbers.tolist(), strict=True)
            calls: list[Call] = [(pair, {}) for pair in pairs]
            size = sum(image.nbytes for image in images)
            target = "threads" if size > _WORTH_THREADS else "for"
            made = assembled(each(fn, calls, self.indices, target, "an action on images"))
            self._set(name, made)
        return self

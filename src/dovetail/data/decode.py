"""Encoded images of a batch into one array of pixels, by several threads at once."""

from __future__ import annotations

import functools
import importlib
import io
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, overload

import numpy as np

from dovetail.errors import DataError

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_MOST_THREADS = 16
_TRIED = 3  # images whose sizes are looked at before many are decoded
_JPEG = b"\xff\xd8\xff"


def decode_images(
    encoded: Sequence[bytes],
    size: tuple[int, int] | None = None,
    *,
    channels: int = 3,
    where: Callable[[int], str] = "image {} of the batch".format,
) -> np.ndarray:
    """Decode images (PNG, JPEG, WebP and what else Pillow reads) to pixels.

    One pool of threads, as many as there are CPUs, is shared by all callers of a process; Pillow
    lets go of Python's lock while it decodes. The pool ends with the process. Where simplejpeg is
    installed (the extra "jpeg"), plain colour JPEGs are decoded by it, to the same pixels.

    Args:
      encoded: the bytes of n image files.
      size: (height, width) of the result; images of another size are scaled, bilinearly, with a
        filter as wide as the scale asks for. None: all must be of one size.
      channels: 1 (grey), 3 (RGB) or 4 (RGB and opacity); images of another kind are converted.
      where: names an image, for messages.

    Returns:
      uint8 [n, height, width, channels].

    Raises:
      DataError: naming the first image, in the order given, that can't be decoded, or whose size
        is another one than that of the first.

    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (4, 2), (255, 0, 0)).save(file, "png")
    >>> decode_images([file.getvalue()])[0, 0, 0].tolist()
    [255, 0, 0]
    """
    mode = _MODES.get(channels)
    if mode is None:
        raise DataError(f"channels must be 1, 3 or 4; got {channels!r}.")
    if not encoded:
        return np.zeros((0, *(size or (0, 0)), channels), np.uint8)
    first = _decoded(encoded[0], 0, size, mode, where)
    out = np.empty((len(encoded), *first.shape), np.uint8)
    out[0] = first

    def fill(rows: range) -> None:
        for row in rows:
            if mode == "RGB" and _jpeg_decoded(encoded[row], out[row]):
                continue
            pixels = _decoded(encoded[row], row, size, mode, where)
            if pixels.shape != first.shape:
                raise DataError(
                    f"{where(row)} is {pixels.shape[0]} x {pixels.shape[1]} pixels (height x "
                    f"width), {where(0)} is {first.shape[0]} x {first.shape[1]}. Images of one "
                    "batch need one size: give size=(height, width)."
                )
            out[row] = pixels

    threads = _threads()
    if threads == 1 or len(encoded) < 3:
        fill(range(1, len(encoded)))
        return out.reshape(*out.shape[:3], channels)
    # Small enough that the threads end together, large enough that handing over costs little.
    step = max(1, len(encoded) // (8 * threads))
    parts = [range(at, min(at + step, len(encoded))) for at in range(1, len(encoded), step)]
    waiting = [_pool().submit(fill, part) for part in parts]
    failures = [error for one in waiting if (error := one.exception()) is not None]
    if failures:
        raise failures[0]
    return out.reshape(*out.shape[:3], channels)


class FileBytes(Sequence[bytes]):
    """The bytes of some files, each read when it is asked for.

    Args:
      paths: of the files.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> FileBytes: ...
    def __getitem__(self, index: int | slice) -> bytes | FileBytes:
        if isinstance(index, slice):
            return FileBytes(self.paths[index])
        with open(self.paths[index], "rb", buffering=0) as file:
            return file.read()


def decode_files(
    paths: Sequence[str], size: tuple[int, int] | None = None, *, channels: int = 3
) -> np.ndarray | None:
    """Decode image files to pixels; see `decode_images`.

    Returns:
      uint8 [n, height, width, channels]; None if they are not of one size, or one of them can't
      be decoded: then each is to be decoded by itself.
    """
    files = FileBytes(paths)
    try:
        if size is None and len({_plain_jpeg_shape(files[row]) for row in range(_TRIED)}) > 1:
            return None
        return decode_images(files, size, channels=channels)
    except (DataError, OSError, IndexError):
        return None


def decode_image(
    encoded: bytes,
    size: tuple[int, int] | None = None,
    *,
    channels: int = 3,
    where: str = "the file",
) -> np.ndarray:
    """Decode one image, in the thread of the caller; see `decode_images`.

    Returns:
      uint8 [height, width, channels].

    Raises:
      DataError: if it can't be decoded.
    """
    mode = _MODES.get(channels)
    if mode is None:
        raise DataError(f"channels must be 1, 3 or 4; got {channels!r}.")
    if mode == "RGB":
        shape = _plain_jpeg_shape(encoded)
        if shape is not None and size in (None, shape):
            pixels = np.empty((*shape, 3), np.uint8)
            if _jpeg_decoded(encoded, pixels):
                return pixels
    pixels = _decoded(encoded, 0, size, mode, lambda _: where)
    return np.array(pixels.reshape(*pixels.shape[:2], channels))


def _plain_jpeg_shape(encoded: bytes) -> tuple[int, int] | None:
    """The height and width of a plain colour JPEG, if simplejpeg is there to say."""
    simplejpeg = _simplejpeg()
    if simplejpeg is None or not isinstance(encoded, bytes) or encoded[:3] != _JPEG:
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        return None
    return (height, width) if space == "YCbCr" else None


def _jpeg_decoded(encoded: bytes, into: np.ndarray) -> bool:
    """Decode a plain colour JPEG of this size right into its place, if simplejpeg is there.

    What it does not take (another size, grey, CMYK, damage) is left to Pillow and its messages.
    """
    if _plain_jpeg_shape(encoded) != into.shape[:2]:
        return False
    try:
        _simplejpeg().decode_jpeg(encoded, "RGB", buffer=into)
    except ValueError:
        return False
    return True


@functools.cache
def _simplejpeg() -> Any:
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None


def _decoded(
    encoded: bytes, row: int, size: tuple[int, int] | None, mode: str, where: Callable[[int], str]
) -> np.ndarray:
    # Slow to import, and most records hold no encoded images.
    from PIL import Image, UnidentifiedImageError

    if not isinstance(encoded, bytes | bytearray | memoryview):
        raise DataError(
            f"{where(row)} holds {type(encoded).__name__}, not the bytes of an image file. "
            "Decoding is for fields of dtype 'bytes'."
        )
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if size is not None and image.mode == mode:
                # A JPEG much larger than what is asked for is read at 1/2, 1/4 or 1/8.
                image.draft(mode, (2 * size[1], 2 * size[0]))
            if image.mode.startswith(("I", "F")):
                raise DataError(f"its values are of mode {image.mode}, not of 8 bits")
            pixels = image
            if image.mode == "P" and "transparency" in image.info:
                pixels = image.convert("RGBA")  # from here Pillow converts without a warning
            if pixels.mode != mode:
                pixels = pixels.convert(mode)
            if size is not None and pixels.size != (size[1], size[0]):
                pixels = pixels.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.asarray(pixels)
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        # Pillow's own text for it is the address of an object.
        unknown = isinstance(error, UnidentifiedImageError)
        why = "no known format" if unknown else f"{type(error).__name__}: {error}"
        raise DataError(
            f"{where(row)} holds no image that can be decoded ({why}; "
            f"{len(encoded)} bytes). Leave it out of the data, or mend it."
        ) from error


_lock = threading.Lock()
_shared: list[ThreadPoolExecutor] = []


def _threads() -> int:
    # macOS has no affinity.
    here = getattr(os, "sched_getaffinity", None)
    return min(len(here(0)) if here else os.cpu_count() or 1, _MOST_THREADS)


def _pool() -> ThreadPoolExecutor:
    with _lock:
        if not _shared:
            _shared.append(ThreadPoolExecutor(_threads(), "dovetail-decode"))
        return _shared[0]


def _forget() -> None:
    """In a forked process the pool's threads are not there."""
    global _lock
    _lock = threading.Lock()
    _shared.clear()


os.register_at_fork(after_in_child=_forget)

"""One file for each item: images, npy and npz."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dovetail.data.batches.tables import written
from dovetail.data.decode import decode_image
from dovetail.errors import DataError

ENDINGS: dict[str, tuple[str, ...]] = {
    "image": ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff"),
    "npy": ("npy",),
    "npz": ("npz",),
}


def file_of(folder: str, id: Any, fmt: str | None) -> str:
    """Find the file of an item: of its name, or its name with an ending.

    Args:
      folder: where it is.
      id: of the item.
      fmt: what its ending may be, such as "npz" or "image"; None: any that can be read.

    Raises:
      DataError: if there is none, or there are several.
    """
    name = _checked(id)
    whole = os.path.join(folder, name)
    if os.path.isfile(whole):
        return whole
    kinds = ENDINGS.get(fmt, (fmt,)) if fmt else [one for ones in ENDINGS.values() for one in ones]
    found = [path for ending in kinds if os.path.isfile(path := f"{whole}.{ending}")]
    if len(found) != 1:
        said = ", ".join(f"'{path}'" for path in found)
        raise DataError(
            f"there are several files for it: {said}. Say which by fmt=..."
            if found
            else f"there is no file '{whole}', nor one with an ending of {', '.join(kinds)}"
        )
    return found[0]


def read_item(path: str, fmt: str | None, channels: int, size: tuple[int, int] | None) -> Any:
    """Read the file of one item.

    Args:
      path: the file.
      fmt: "image", "npy" or "npz"; None: by its ending.
      channels, size: of images; see `decode_images`.

    Returns:
      an image, uint8 [height, width, channels]; or an array; or, of npz, a dict of arrays.

    Raises:
      DataError: if it can't be read.
    """
    ending = (fmt or Path(path).suffix[1:]).lower()
    if ending == "image" or ending in ENDINGS["image"]:
        encoded = Path(path).read_bytes()
        return decode_image(encoded, size, channels=channels, where=f"'{path}'")
    if ending not in ("npy", "npz"):
        raise DataError(f"'{path}' has no ending of a file that can be read; say fmt=...")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return dict(loaded)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' can't be read as {ending} ({error})") from error


def write_item(folder: str, id: Any, fmt: str, values: Mapping[str | None, Any]) -> None:
    """Write one item to a file of its name, which appears whole or not at all.

    Args:
      folder: where; it is made if it is not there.
      id: of the item.
      fmt: "npz", "npy", "image" (a PNG), or an ending of images.
      values: by component; all formats but npz take one.

    Raises:
      DataError: if the format can't hold the values, or the id can't be a file's name.
    """
    ending = "png" if fmt == "image" else fmt
    name = _checked(id)
    if not name.lower().endswith(f".{ending}"):
        name = f"{name}.{ending}"
    path = os.path.join(folder, name)
    arrays = {str(name or "data"): np.asarray(value) for name, value in values.items()}
    if fmt != "npz" and len(arrays) > 1:
        raise DataError(f"{fmt} holds one component, not {', '.join(arrays)}: name one, or use npz")
    if any(array.dtype == object for array in arrays.values()):
        raise DataError(f"{fmt} holds numbers and text, not Python objects")
    array = next(iter(arrays.values()))
    if fmt == "npz":
        with written(path) as file:
            np.savez(file, allow_pickle=False, **arrays)
    elif fmt == "npy":
        with written(path) as file:
            np.save(file, array, allow_pickle=False)
    else:
        _write_image(path, ending, array)


def _write_image(path: str, ending: str, array: np.ndarray) -> None:
    from PIL import Image  # slow to import

    pixels = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in (
        (), (3,), (4,),
    ):  # fmt: skip
        raise DataError(
            "images are uint8 [height, width], or with 1, 3 or 4 channels; this is "
            f"{array.dtype} {list(array.shape)}. Scale to 0..255 and convert it first"
        )
    kind = {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending)
    with written(path) as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, kind)


def _checked(id: Any) -> str:
    name = str(id)
    if not name or name in (".", "..") or "/" in name or os.sep in name or "\0" in name:
        raise DataError(f"the id {id!r} can't be a file's name")
    return name

"""Read NumPy's own files: the arrays of an .npz archive by name, or the one of an .npy file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError, nearest

_ONLY = "arr_0"  # what numpy.savez calls an array without a name


@dataclass(frozen=True)
class Npz:
    """A reader for .npz and .npy files: row i is entry i of each array, along its first dimension.

    An .npy file is read as an archive of one array called `arr_0`, as numpy.savez calls an array
    without a name, and a few rows at a time; an archive's arrays are held in memory while they
    are read. Arrays of Python objects are pickles and never opened.

    Args:
      arrays: which arrays to read: their names, or a dict from the name in the file to the name
        of the field. None takes all, which must then have one length.

    >>> import pathlib, tempfile
    >>> path = (pathlib.Path(tempfile.mkdtemp()) / "a.npz").as_posix()
    >>> np.savez(path, x_train=np.eye(2), y_train=np.array([4, 5]), x_test=np.eye(3))
    >>> reader = Npz({"x_train": "x", "y_train": "label"}).for_files([path])
    >>> print(reader.schema)
    'x': float64 [2]; 'label': int64 []
    >>> [int(row["label"]) for row in reader(path)]
    [4, 5]
    """

    arrays: Mapping[str, str] | None = None
    schema: Schema | None = field(default=None, init=False, repr=False, compare=False)

    def __init__(self, arrays: Iterable[str] | Mapping[str, str] | None = None) -> None:
        if isinstance(arrays, str):
            arrays = [arrays]
        if arrays is not None and not isinstance(arrays, Mapping):
            arrays = {name: name for name in arrays}
        if arrays is not None and not (arrays and len(set(arrays.values())) == len(arrays)):
            raise DataError(f"Npz: arrays must name some, each field once; got {dict(arrays)}.")
        object.__setattr__(self, "arrays", None if arrays is None else dict(arrays))
        object.__setattr__(self, "schema", None)

    def for_files(self, names: Iterable[str]) -> Npz:
        """Return this reader with the schema that the arrays of the first file have.

        Args:
          names: files that are going to be read; one that can't be is passed over here.

        Raises:
          DataError: no file can be read and has the arrays; that of the first.
        """
        failed: DataError | None = None
        for filename in names:
            try:
                columns = self._open(filename)
                fields = [_field(name, array, filename) for name, array in columns.items()]
            except DataError as error:
                failed = failed or error
                continue
            made = Npz(self.arrays)
            object.__setattr__(made, "schema", Schema(fields))
            return made
        raise failed or DataError("There is no file to tell a schema from.")

    def __call__(self, filename: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of one file.

        Args:
          filename: path of the file.

        Raises:
          DataError: naming the file and the array: the file is damaged, an array is absent or
            can't be stored, or their lengths differ.
        """
        columns = self._open(filename)
        for index in range(len(next(iter(columns.values())))):
            yield {name: array[index] for name, array in columns.items()}

    def _open(self, filename: str) -> dict[str, np.ndarray]:
        columns = _load(filename, self.arrays)
        lengths = {name: len(array) for name, array in columns.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(
                f"{filename}: the arrays' first dimensions, which are their rows, differ: "
                f"{lengths}. Name those that belong together, as in "
                'Npz({"x_train": "x", "y_train": "label"}).'
            )
        return columns


def _load(filename: str, wanted: Mapping[str, str] | None) -> dict[str, np.ndarray]:
    """Load a file's arrays by the names of their fields, each checked to have rows of values."""
    try:
        with open(filename, "rb") as stream:
            magic = stream.read(6)
        if magic == b"\x93NUMPY":
            array = np.load(filename, mmap_mode="r", allow_pickle=False)
            _check_size(filename, array)
            found = _pick({_ONLY: lambda: array}, wanted, filename)
        elif magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            # NumPy leaves a file that it opened itself open where the archive is damaged.
            with open(filename, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
                # Each member's checksum is compared as its last byte is read.
                sources = {name: lambda name=name: archive[name] for name in archive.files}
                found = _pick(sources, wanted, filename)
        else:
            kind = f"it begins with {magic.hex(' ')}" if magic else "it is empty"
            raise DataError(f"{filename}: this is neither an .npz nor an .npy file: {kind}.")
    except DataError:
        raise
    except Exception as error:  # on a damaged archive zipfile raises errors of many kinds
        said = str(error).rstrip(".")
        cure = "Get or write the file again."
        if "pickle" in said or "Object arrays" in said:
            said = (
                "it holds Python objects, which only pickle could read, and that may run any code"
            )
            cure = "Save arrays of numbers or text, padded or in several arrays."
        elif isinstance(error, FileNotFoundError | PermissionError):
            said, cure = str(error.strerror), ""
        raise DataError(f"{filename}: the file can't be read ({said}). {cure}".rstrip()) from error
    return found


def _check_size(filename: str, array: np.ndarray) -> None:
    rest = os.path.getsize(filename) - getattr(array, "offset", 0) - array.nbytes
    if rest:
        raise DataError(
            f"{filename}: {rest} bytes follow the array that the header tells of. One .npy file "
            "holds one array; use .npz for several."
        )


def _pick(
    sources: Mapping[str, Any], wanted: Mapping[str, str] | None, filename: str
) -> dict[str, np.ndarray]:
    names = {name: name for name in sources} if wanted is None else wanted
    if not names:
        raise DataError(f"{filename}: there is no array in it.")
    for name in names:
        if name not in sources:
            raise DataError(
                f"{filename}: there is no array '{name}' in it; there are {', '.join(sources)}."
                f"{nearest(name, sources)}"
            )
    found: dict[str, np.ndarray] = {}
    for name, as_field in names.items():
        array = sources[name]()
        if not isinstance(array, np.ndarray):  # a member that is no array comes as its bytes
            raise DataError(f"{filename}: its member '{name}' is not an array. Name the arrays.")
        if not array.ndim or array.dtype.kind not in "biufUS":
            raise DataError(
                f"{filename}: the array '{name}' is {array.dtype} {list(array.shape)}; rows need "
                "numbers or text with at least one dimension. Name the arrays to read."
            )
        found[as_field] = array
    return found


def _field(name: str, array: np.ndarray, filename: str) -> Field:
    try:
        return Field(name, array.shape[1:], array.dtype)  # pyright: ignore[reportArgumentType]
    except DataError as error:
        raise DataError(f"{filename}: {error}") from error

"""Read MNIST's idx files, and those of its kin: images in one file, their labels in another."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

import numpy as np

from dovetail.data.readers.binary import open_binary, read_exactly
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

# The third byte of an idx file: the type of its numbers, all of them big-endian.
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IMAGES = re.compile(r"images[-.]idx\d+", re.IGNORECASE)
_LABELS = re.compile(r"labels[-.]idx\d+", re.IGNORECASE)
_ROWS = 256  # rows read at a time


class IdxHeader(NamedTuple):
    """What an idx file holds: the type of its numbers, how many rows, and each row's sizes."""

    dtype: np.dtype[Any]
    rows: int
    shape: tuple[int, ...]


def read_idx(filename: str) -> Iterator[np.ndarray]:
    """Yield the rows of one idx file, which are its entries along the first dimension.

    Args:
      filename: path of the file; gzip is unpacked.

    Yields:
      arrays of the file's type, in this machine's byte order, and of the shape in its header.

    Raises:
      DataError: naming the file: it is no idx file, is cut, or is longer than its header says.

    Source: the format's description on the MNIST database's page, by Y. LeCun, C. Cortes and
    C. Burges.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "t10k-labels-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    >>> [int(label) for label in read_idx(str(path))]
    [7, 9]
    """
    with open_binary(filename) as stream:
        header = _header(stream, filename)
        size = int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize
        for start in range(0, header.rows, _ROWS):
            count = min(_ROWS, header.rows - start)
            where = f"{filename}, rows {start} to {start + count - 1} of {header.rows}"
            data = np.frombuffer(read_exactly(stream, count * size, where), header.dtype)
            yield from data.astype(header.dtype.newbyteorder("=")).reshape(count, *header.shape)
        if stream.read(1):
            raise DataError(
                f"{filename}: there is more in the file than the {header.rows} rows of shape "
                f"{list(header.shape)} that its header tells of. Get the file again."
            )


def idx_header(filename: str) -> IdxHeader:
    """Read the header of an idx file.

    Raises:
      DataError: naming the file: it is absent, or no idx file.
    """
    with open_binary(filename) as stream:
        return _header(stream, filename)


def _header(stream: IO[bytes], filename: str) -> IdxHeader:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not magic[3]:
        arrived = f"{magic.hex(' ')}" if magic else "nothing: the file is empty"
        raise DataError(
            f"{filename}: this is not an idx file. The first four bytes must be 00 00, the type "
            f"(08, 09, 0b, 0c, 0d or 0e) and the number of dimensions; got {arrived}."
        )
    sizes = read_exactly(stream, 4 * magic[3], f"{filename}, header")
    rows, *shape = struct.unpack(f">{magic[3]}I", sizes)
    if 0 in shape:
        raise DataError(f"{filename}: the header has a size of zero: {[rows, *shape]}.")
    return IdxHeader(np.dtype(_TYPES[magic[2]]), rows, tuple(shape))


@dataclass(frozen=True)
class Mnist:
    """A reader for MNIST and data sets in its format (Fashion-MNIST, KMNIST, EMNIST, QMNIST).

    Rows are `image`, with type and shape from the file's header, and `label`, an integer. The
    labels of `train-images-idx3-ubyte` are taken from the file that is named alike with `labels`,
    `train-labels-idx1-ubyte`, beside it or among the files given; each may be gzip (`.gz`).

    Args:
      labels: whether there are labels; False reads images alone.

    >>> print(Mnist().schema)  # known with the files
    None
    """

    labels: bool = True
    schema: Schema | None = field(default=None, init=False, repr=False, compare=False)
    _pairs: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    # Sizes and times of the labels' files: prepare knows a reader by its values, and so sees when
    # labels were changed that are not among the files it was given.
    _seen: tuple[tuple[int, int], ...] = field(default=(), init=False, repr=False, compare=False)

    def for_files(self, names: Iterable[str]) -> Mnist:
        """Return this reader with each file of images paired with its labels.

        Args:
          names: files of images; files of labels may be among them.

        Raises:
          DataError: images without labels or labels without images, a file beside its packed
            form, or images of several shapes.
        """
        names = list(names)
        images = [name for name in names if not _is_labels(name)]
        by_plain_name: dict[str, str] = {}
        for name in images:
            twin = by_plain_name.setdefault(name.removesuffix(".gz"), name)
            if twin != name:
                raise DataError(f"'{twin}' and '{name}' are the same images. Name one of them.")
        pairs = {name: self._labels_of(name, names) for name in images} if self.labels else {}
        for name in names:
            if _is_labels(name) and name not in pairs.values() and self.labels:
                raise DataError(
                    f"{name}: labels without images. Name the file of their images too; it is "
                    f"called '{_LABELS.sub('images-idx3', os.path.basename(name))}'."
                )
        if not images:
            raise DataError(f"There is no file of images among {names}; labels alone are no rows.")
        made = Mnist(self.labels)
        object.__setattr__(made, "_pairs", pairs)
        seen = tuple((s.st_size, s.st_mtime_ns) for s in map(os.stat, pairs.values()))
        object.__setattr__(made, "_seen", seen)
        object.__setattr__(made, "schema", _schema(images, pairs))
        return made

    def __call__(self, filename: str) -> Iterator[dict[str, np.ndarray]]:
        """Yield the rows of one file of images; a file of labels gives none of its own.

        Args:
          filename: path of the file.

        Raises:
          DataError: naming the file and what is wrong with it.
        """
        if _is_labels(filename):
            return
        if not self.labels:
            yield from ({"image": image} for image in read_idx(filename))
            return
        labels = self._pairs.get(filename) or self._labels_of(filename, [filename])
        _check_count(filename, labels)
        for image, label in zip(read_idx(filename), read_idx(labels), strict=True):
            yield {"image": image, "label": label}

    @staticmethod
    def _labels_of(images: str, names: list[str]) -> str:
        folder, base = os.path.split(images)
        found = _IMAGES.search(base)
        if found is None:
            raise DataError(
                f"{images}: 'images-idx' is not in its name, so the file of its labels can't be "
                "told. Rename both as MNIST's are, or read images alone with labels=False."
            )
        # What follows tells the type, which QMNIST's labels have otherwise: "-ubyte", "-int".
        pattern = re.escape(base[: found.start()]) + _LABELS.pattern + r"(-\w+)?(\.gz)?"
        alike = re.compile(pattern, re.IGNORECASE)
        beside = sorted(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else []
        candidates = [name for name in names if os.path.split(name)[0] == folder]
        candidates += [os.path.join(folder, name).replace(os.sep, "/") for name in beside]
        for name in candidates:
            if alike.fullmatch(os.path.basename(name)):
                return name
        wanted = f"{base[: found.start()]}labels-idx1{base[found.end() :]}"
        raise DataError(
            f"{images}: the file of its labels, such as '{wanted}', is not beside it. Put it "
            "there, or read images alone with labels=False."
        )


def _is_labels(name: str) -> bool:
    return _LABELS.search(os.path.basename(name)) is not None


def _check_count(images: str, labels: str) -> None:
    here, there = idx_header(images).rows, idx_header(labels).rows
    if here != there:
        raise DataError(
            f"{images}: it holds {here} images, and '{labels}' {there} labels. They do not belong "
            "together, or one is not whole."
        )


def _schema(images: list[str], pairs: dict[str, str]) -> Schema:
    first, *others = images
    header = idx_header(first)
    for name in others:
        if (other := idx_header(name))[::2] != header[::2]:
            raise DataError(
                f"{name}: its images are {other.dtype.name} {list(other.shape)}; those of "
                f"'{first}' are {header.dtype.name} {list(header.shape)}. Prepare them apart."
            )
    fields = [Field("image", header.shape, header.dtype.name)]
    if pairs:
        label = idx_header(pairs[first])
        fields.append(
            Field("label", label.shape, "int64" if label.dtype.kind in "iu" else "float64")
        )
    return Schema(fields)

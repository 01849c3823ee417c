"""Read CIFAR-10 and CIFAR-100 in their binary version."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from dovetail.data.readers.binary import open_binary, read_up_to
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

_PIXELS = 3 * 32 * 32
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_ROWS = 256  # rows read at a time
_IMAGE = Field("image", (32, 32, 3), "uint8")


def read_batches(filename: str, classes: tuple[int, ...]) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Yield the images and labels of one binary batch.

    Args:
      filename: path of the file; gzip is unpacked.
      classes: how many classes each of the labels has that stand before an image's pixels.

    Yields:
      an image, uint8 of shape [32, 32, 3], red, green and blue, and its labels.

    Raises:
      DataError: naming the file, if its size is no multiple of a row's or a label is too large.

    Source: the format's description on the page of the CIFAR-10 and CIFAR-100 data sets, by
    A. Krizhevsky.
    """
    size = len(classes) + _PIXELS
    done = 0
    with open_binary(filename) as stream:
        while data := read_up_to(stream, _ROWS * size):
            if not done and data[:2] in _PICKLES:
                raise DataError(
                    f"{filename}: this is a Python pickle, which could run any code and is not "
                    "opened. Get the data set's binary version, whose files end in .bin."
                )
            whole, rest = divmod(len(data), size)
            if rest:
                _check_size(filename, size)
            rows = np.frombuffer(data, np.uint8).reshape(whole, size)
            labels = rows[:, : len(classes)]
            if (wrong := np.argwhere(labels >= classes)).size:
                _check_size(filename, size)  # says more, where it is of the other data set
                row, column = (int(index) for index in wrong[0])
                raise DataError(
                    f"{filename}, row {done + row}: the label {labels[row, column]} is none of the "
                    f"{classes[column]} classes. The file is damaged, or of another format."
                )
            images = rows[:, len(classes) :].reshape(whole, 3, 32, 32).transpose(0, 2, 3, 1)
            yield from zip(np.ascontiguousarray(images), labels.tolist(), strict=True)
            done += whole
    if not done:
        raise DataError(f"{filename}: the file is empty.")


def _check_size(filename: str, size: int) -> None:
    total = 0
    with open_binary(filename) as stream:
        while piece := stream.read(1 << 20):
            total += len(piece)
    if total % size == 0:
        return
    other, name = {3073: (3074, "CIFAR-100"), 3074: (3073, "CIFAR-10")}[size]
    cure = "It is cut, or of another format: get it again."
    if total % other == 0:
        cure = f"That is {total // other} rows of {name}: use the reader for it."
    raise DataError(
        f"{filename}: its {total} bytes are not a whole number of rows of {size} bytes. {cure}"
    )


def _class_names(files: Iterable[str], name: str, count: int) -> list[str] | None:
    """Read the names of the classes where the data set's own list lies beside the files."""
    for folder in sorted({os.path.dirname(file) for file in files}):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open_binary(path) as stream:
                names = stream.read().decode("utf-8", "replace").split()
            if len(names) == len(set(names)) == count:
                return names
    return None


@dataclass(frozen=True)
class Cifar10:
    """A reader for CIFAR-10's binary batches, `data_batch_1.bin` to `test_batch.bin`.

    Rows are `image`, uint8 of shape [32, 32, 3] (channels last), and `label`, 0 to 9. Where
    `batches.meta.txt` lies beside the files, its names are kept as `classes` in the metadata.

    >>> print(Cifar10().schema)
    'image': uint8 [32, 32, 3]; 'label': int64 []
    """

    schema: ClassVar[Schema] = Schema([_IMAGE, Field("label", (), "int64")])
    metadata: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def for_files(self, names: Iterable[str]) -> Cifar10:
        """Return this reader with the names of the classes, where they are found."""
        made = Cifar10()
        if (classes := _class_names(names, "batches.meta.txt", 10)) is not None:
            made.metadata["classes"] = classes
        return made

    def __call__(self, filename: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of one batch.

        Args:
          filename: path of the file.

        Raises:
          DataError: naming the file and what is wrong with it.
        """
        for image, (label,) in read_batches(filename, (10,)):
            yield {"image": image, "label": label}


@dataclass(frozen=True)
class Cifar100:
    """A reader for CIFAR-100's binary files, `train.bin` and `test.bin`.

    Rows are `image`, uint8 of shape [32, 32, 3] (channels last), and the labels asked for. Where
    the lists of names lie beside the files, they are kept in the metadata: `classes` for `label`,
    `coarse_classes` for `coarse_label`.

    Args:
      labels: "fine" gives the class, 0 to 99, as `label`; "coarse" the superclass, 0 to 19, as
        `label`; "both" the class as `label` and the superclass as `coarse_label`.

    >>> print(Cifar100("fine").schema)
    'image': uint8 [32, 32, 3]; 'label': int64 []
    """

    labels: Literal["fine", "coarse", "both"] = "both"
    metadata: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.labels not in ("fine", "coarse", "both"):
            raise DataError(
                f"Cifar100: labels must be 'fine', 'coarse' or 'both'; got {self.labels!r}."
            )

    @property
    def schema(self) -> Schema:
        """What the rows are."""
        names = ("label", "coarse_label") if self.labels == "both" else ("label",)
        return Schema([_IMAGE, *(Field(name, (), "int64") for name in names)])

    def for_files(self, names: Iterable[str]) -> Cifar100:
        """Return this reader with the names of the classes, where they are found."""
        made = Cifar100(self.labels)
        files = list(names)
        fine = _class_names(files, "fine_label_names.txt", 100)
        coarse = _class_names(files, "coarse_label_names.txt", 20)
        kept = {"classes": coarse if self.labels == "coarse" else fine}
        if self.labels == "both":
            kept["coarse_classes"] = coarse
        made.metadata.update({key: value for key, value in kept.items() if value is not None})
        return made

    def __call__(self, filename: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of one file.

        Args:
          filename: path of the file.

        Raises:
          DataError: naming the file and what is wrong with it.
        """
        for image, (coarse, fine) in read_batches(filename, (20, 100)):
            row = {"image": image, "label": coarse if self.labels == "coarse" else fine}
            if self.labels == "both":
                row["coarse_label"] = coarse
            yield row

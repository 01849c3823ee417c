"""A batch of records as `input_fn(records)` gets it: rows to walk over, and whole columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from dovetail.data import example_random
from dovetail.data.decode import decode_images
from dovetail.data.padding import padded
from dovetail.data.schema import Schema
from dovetail.errors import DataError, nearest


class Rows(Sequence[dict[str, Any]]):
    """Some rows of a record set, copied out of it: what is written to them goes nowhere else.

    Args:
      columns: each field's values, one for each row.
      schema: of the rows, where it is known.
      where: names a row's place, such as its shard, for messages.
      numbers: int64 [n], the numbers by which the rows are stored; without it 0, 1, ...
      seed: of the run that the rows are for.
      epoch: which epoch of it they are for; one number, or one for each row.

    A row is a dict by field name; its arrays are views of the batch's columns, so a value
    written in place (`row["x"][:] = 0`) is seen in the column too, while a new value put in the
    dict stays with that row. Whole columns are the quick way.

    `seeds`, `uniform`, `integers` and `random` are for augmentation: what they give a row is a
    function of seed, epoch, the row's number, and how many such calls came before on these rows.
    It is the same in whichever batch the row comes, and whoever asks.

    >>> rows = Rows({"x": np.array([[1, 2], [3, 4]]), "name": ["a", "b"]})
    >>> rows[1]["name"], rows["x"].sum(), [int(row["x"][0]) for row in rows]
    ('b', np.int64(10), [1, 3])
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray | list[Any]],
        *,
        schema: Schema | None = None,
        where: Callable[[int], str] = "row {} of the batch".format,
        numbers: np.ndarray | None = None,
        seed: int = 0,
        epoch: int | np.ndarray = 0,
    ) -> None:
        self.columns = dict(columns)
        self._schema = schema
        self._where = where
        lengths = {len(column) for column in self.columns.values()}
        assert len(lengths) == 1, lengths
        self._length = lengths.pop()
        self._rows: list[dict[str, Any]] | None = None
        self._numbers = np.arange(self._length) if numbers is None else numbers
        assert len(self._numbers) == self._length
        self._seed, self._epoch = seed, epoch
        self._seeds: np.ndarray | None = None
        self._draws = 0
        self._draws_of_row: dict[int, int] = {}

    @property
    def seeds(self) -> np.ndarray:
        """Each row's own seed, int64 [n], not to be written to: of (seed, epoch, its number).

        Among the features they reach `preprocess`, which draws from them on the device with
        `dovetail.augment`.
        """
        if self._seeds is None:
            self._seeds = example_random.example_seeds(self._seed, self._epoch, self._numbers)
            self._seeds.flags.writeable = False
        return self._seeds

    def uniform(self, low: float = 0.0, high: float = 1.0, shape: Sequence[int] = ()) -> np.ndarray:
        """Draw numbers for each row, every number between two bounds as likely; anew each call.

        Args:
          low, high: the bounds.
          shape: of the numbers of one row.

        Returns:
          float32 [n, *shape].

        >>> Rows({"x": np.zeros(2)}).uniform(-1, 1, (3,)).shape
        (2, 3)
        """
        return example_random.uniform(self.seeds, low, high, shape, draw=self._next_draw())

    def integers(self, low: int, high: int, shape: Sequence[int] = ()) -> np.ndarray:
        """Draw whole numbers for each row, from `low` to `high - 1`; anew each call.

        Returns:
          int64 [n, *shape].
        """
        return example_random.integers(self.seeds, low, high, shape, draw=self._next_draw())

    def random(self, row: int) -> np.random.Generator:
        """Make a NumPy generator for one row; each call for a row gives it another one.

        Args:
          row: its position in the batch. NumPy may change its generators' streams between
            versions; the numbers of `uniform` and `integers` stay.

        >>> rows = Rows({"x": np.zeros(2)})
        >>> rows.random(1).random() == rows.random(1).random()
        False
        """
        place = range(self._length)[row]
        draw = self._draws_of_row.get(place, 0)
        self._draws_of_row[place] = draw + 1
        return example_random.generator(int(self.seeds[place]), draw)

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            if key not in self.columns:
                raise DataError(
                    f"The records have no field '{key}'; they have {list(self.columns)}."
                    f"{nearest(key, self.columns)}"
                )
            return self.columns[key]
        return self._all()[key]

    def padded(
        self,
        name: str,
        value: Any = 0,
        *,
        sizes: Sequence[int | None] | None = None,
        multiple_of: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give a field whose rows differ in size as one array, and a mask of what is real in it.

        Args:
          name: the field.
          value: what is filled in behind each row's own values.
          sizes: how large each dimension of a row is to be; None, for one or all: the largest
            there is in the batch.
          multiple_of: sizes that are not given are rounded up to a multiple of it.

        Returns:
          array: [n, *sizes].
          mask: bool [n, *the sizes up to the last dimension that varies], true where `array`
            holds a value of the row.

        Raises:
          DataError: if a row is larger than `sizes` (shard and row are named), or the field is
            text or bytes of shape [].

        >>> rows = Rows({"tokens": [np.array([5, 6]), np.array([7])]})
        >>> tokens, mask = rows.padded("tokens")
        >>> tokens.tolist(), mask.tolist()
        ([[5, 6], [7, 0]], [[True, True], [True, False]])
        """
        varying = None
        if self._schema is not None and name in self._schema:
            shape = self._schema[name].shape
            varying = max((dim + 1 for dim, size in enumerate(shape) if size is None), default=0)
            sizes = shape if sizes is None else sizes
        return padded(
            self[name],
            value,
            sizes=sizes,
            multiple_of=multiple_of,
            varying=varying,
            where=lambda row: f"{self._where(row)}: field '{name}'",
        )

    def images(
        self, name: str, size: tuple[int, int] | None = None, *, channels: int = 3
    ) -> np.ndarray:
        """Decode a field of dtype "bytes" that holds image files, by several threads at once.

        Args:
          name: the field.
          size: (height, width) to scale to; None: the images are all of one size.
          channels: 1 (grey), 3 (RGB) or 4 (RGB and opacity).

        Returns:
          uint8 [n, height, width, channels].

        Raises:
          DataError: naming shard and row of an image that can't be decoded.
        """
        return decode_images(
            self[name],
            size,
            channels=channels,
            where=lambda row: f"{self._where(row)}: field '{name}'",
        )

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._all())

    def __repr__(self) -> str:
        return f"Rows({self._length} rows of {list(self.columns)})"

    def _next_draw(self) -> int:
        self._draws += 1
        return example_random.STREAM + self._draws

    def _all(self) -> list[dict[str, Any]]:
        if self._rows is None:
            names = list(self.columns)
            columns = self.columns.values()
            self._rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        return self._rows

"""Several record sets as one stream, each with its share of the examples."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dovetail.data.columns import Column, assembled
from dovetail.data.order import batch_indices
from dovetail.data.records import Indices, Records
from dovetail.data.rows import Rows
from dovetail.data.schema import Schema
from dovetail.errors import DataError, nearest

_FINEST = 1 << 20  # of a share's denominator, so that position times numerator fits 63 bits


class Mixed:
    """Several sets of records, mixed by weight; used wherever `Records` are.

    Which source an example is from, and which of its rows it is, is a function of seed and
    position alone, found in constant time, so that a run resumes exactly. Positions are dealt out
    as evenly as whole numbers allow: of any examples in a row, a source has its share, but for
    one or two (with very many sources, a few). Each source goes through its own epochs, each in
    an order of its own.

    An epoch of the mixture is as many examples as the sources have rows together. One with a
    larger weight than its part of the rows comes more than once in it, one with a smaller weight
    not wholly.

    Args:
      sources: name -> records, all of one schema; "classes" in their metadata must agree.
      weights: name -> share of the examples, in any unit; None: as many as each has rows.

    Raises:
      DataError: if the sources do not go together, or a weight is missing or not above 0.

    Attributes:
      sources: as given.
      weights: name -> share, summing to 1.

    >>> import tempfile
    >>> from dovetail.data.record_writer import RecordWriter
    >>> from dovetail.data.schema import Field
    >>> def numbers(first, count):
    ...     place = tempfile.mkdtemp() + "/records"
    ...     with RecordWriter(place, Schema([Field("n", (), "int64")])) as writer:
    ...         for number in range(count):
    ...             writer.append((first + number,))
    ...     return Records(place)
    >>> both = Mixed({"a": numbers(0, 4), "b": numbers(100, 2)}, {"a": 1, "b": 1})
    >>> both.gather(both.examples(0, 0, 6, shuffle=False))["n"].tolist()
    [100, 0, 101, 1, 100, 2]
    """

    def __init__(
        self, sources: Mapping[str, Records], weights: Mapping[str, float] | None = None
    ) -> None:
        self.sources = dict(sources)
        _refuse_strangers(self.sources)
        given = {name: len(one) for name, one in self.sources.items()}
        exact = _checked(given if weights is None else weights, self.sources)
        self.weights = {name: float(exact[name]) for name in self.sources}
        self._sizes = np.array([len(one) for one in self.sources.values()], np.int64)
        self._ends = np.cumsum(self._sizes)
        self._first = self._ends - self._sizes
        # Shares of what the ones before leave, the largest first, which is dealt most evenly.
        numbers = sorted(range(len(exact)), key=lambda at: -list(exact.values())[at])
        left = Fraction(1)
        self._levels: list[tuple[int, int, int]] = []  # source, numerator, denominator
        for at in numbers:
            weight = list(exact.values())[at]
            share = min((weight / left).limit_denominator(_FINEST), Fraction(1))
            self._levels.append((at, share.numerator, share.denominator))
            left -= weight
        last = self._levels[-1][0]
        self._levels[-1] = (last, 1, 1)
        self._selected: np.ndarray | None = None

    @property
    def schema(self) -> Schema:
        """The fields of every row."""
        return self._any.schema

    @property
    def path(self) -> str:
        """What messages call the mixture: the sources' folders."""
        return " + ".join(str(one.path) for one in self.sources.values())

    @property
    def metadata(self) -> dict[str, Any]:
        """What all sources say alike; a copy."""
        every = [one.metadata for one in self.sources.values()]
        common = {
            name: value
            for name, value in every[0].items()
            if all(name in other and other[name] == value for other in every)
        }
        return copy.deepcopy(common)

    @property
    def fingerprint(self) -> str:
        """SHA-256, hexadecimal, of the sources, their weights, and of which rows these are."""
        parts = [(name, one.fingerprint) for name, one in self.sources.items()]
        chosen = b"" if self._selected is None else self._selected.astype("<i8").tobytes()
        said = repr((parts, self._levels)).encode()
        return hashlib.sha256(said + chosen).hexdigest()

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._selected is None else len(self._selected)

    def __repr__(self) -> str:
        shares = ", ".join(f"{share:.1%} {name}" for name, share in self.weights.items())
        return f"Mixed({shares}; {len(self)} rows; {self.schema})"

    def examples(self, seed: int, start: int, count: int, shuffle: bool = True) -> np.ndarray:
        """Give the rows at some positions of a run; see `Records.examples`."""
        if self._selected is not None:
            return batch_indices(seed, len(self), start, count, shuffle)
        return self._dealt(seed, start, count, shuffle)[0]

    def epochs(self, seed: int, start: int, count: int, shuffle: bool = True) -> np.ndarray:
        """Say in which epoch of its own source the example at each position is: int64 [count].

        A source that comes more than once in an epoch of the mixture has others for each time, so
        that an example is not augmented alike twice.
        """
        if self._selected is not None:
            return np.arange(start, start + count) // len(self)
        return self._dealt(seed, start, count, shuffle)[1]

    def _dealt(
        self, seed: int, start: int, count: int, shuffle: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give the rows at some positions, and the epochs of their sources that those are in."""
        # A source that is to have p of every q positions has had (t * p + phase) // q of the
        # first t; it has each position where that grows, and those before it leave the rest.
        at = np.arange(start, start + count + 1, dtype=np.int64)
        places = np.arange(count)
        rows, epochs = np.empty(count, np.int64), np.empty(count, np.int64)
        names = list(self.sources)
        for number, p, q in self._levels:
            key = f"{seed}:{names[number]}".encode()
            drawn = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
            had = (at * p + (drawn % q if shuffle else 0)) // q
            mine = np.diff(had) > 0
            source = self.sources[names[number]]
            mixed = source.examples(drawn, int(had[0]), int(mine.sum()), shuffle)
            rows[places[mine]] = self._first[number] + mixed
            epochs[places[mine]] = source.epochs(drawn, int(had[0]), len(mixed), shuffle)
            places = places[~mine]
            begin = int(at[0] - had[0])
            at = np.arange(begin, begin + len(places) + 1, dtype=np.int64)
        return rows, epochs

    def source(self, index: int) -> tuple[str, int]:
        """Say which source a row of the mixture is of, and which row of it."""
        row = int(index) if self._selected is None else int(self._selected[index])
        at = int(np.searchsorted(self._ends, row, "right"))
        return list(self.sources)[at], row - int(self._first[at])

    def gather(self, indices: Indices, fields: Sequence[str] | None = None) -> dict[str, Column]:
        """Copy some rows out of the sources, in the order asked for; see `Records.gather`."""
        rows = self._within(indices)
        if not len(rows):
            return self._any.gather(rows, fields)
        source = np.searchsorted(self._ends, rows, "right")
        pieces = []
        for number, one in enumerate(self.sources.values()):
            at = np.flatnonzero(source == number)
            if len(at):
                pieces.append((at, one.gather(rows[at] - self._first[number], fields)))
        return assembled(len(rows), pieces)

    def rows(self, indices: Indices, *, seed: int = 0, epoch: int | np.ndarray = 0) -> Rows:
        """Copy some rows out, as `input_fn(records)` takes them; see `Records.rows`."""
        return Rows(
            self.gather(indices),
            schema=self.schema,
            where=lambda row: self.where(int(indices[row])),
            numbers=self._within(indices),
            seed=seed,
            epoch=epoch,
        )

    def head(self, count: int = 5) -> Rows:
        """Copy the first rows of an unshuffled run out, at most `count` of them."""
        return self.rows(self.examples(0, 0, min(max(count, 0), len(self)), shuffle=False))

    def select(self, indices: Indices) -> Mixed:
        """Give a view that has only some rows, in the order given; it is mixed no more."""
        view = copy.copy(self)
        view._selected = self._within(indices)
        return view

    def where(self, index: int) -> str:
        """Say where a row is stored: the source's folder, the shard's file, and the row in it."""
        name, row = self.source(index)
        return f"{self.sources[name].path}/{self.sources[name].where(row)}"

    def will_need(self, indices: Indices) -> None:
        """Have rows read from disk that are needed soon; see `Records.will_need`."""
        rows = self._within(indices)
        source = np.searchsorted(self._ends, rows, "right")
        for number, one in enumerate(self.sources.values()):
            one.will_need(rows[source == number] - self._first[number])

    @property
    def row_bytes(self) -> int:
        """About how many bytes of a file one row takes."""
        return max(one.row_bytes for one in self.sources.values())

    def verify(self) -> None:
        """Read every byte of every source and compare it with its checksums."""
        for one in self.sources.values():
            one.verify()

    @property
    def _any(self) -> Records:
        return next(iter(self.sources.values()))

    def _within(self, indices: Indices) -> np.ndarray:
        rows = np.array(indices, np.int64).reshape(-1)
        if len(rows) and rows.view(np.uint64).max() >= len(self):
            raise IndexError(f"rows must be numbers from 0 to {len(self) - 1}; got {indices!r}")
        return rows if self._selected is None else self._selected[rows]


def _refuse_strangers(sources: Mapping[str, Records]) -> None:
    if not sources:
        raise DataError("Mixed takes at least one source; got none.")
    (first, one), *others = sources.items()
    for name, other in others:
        lines = one.schema.differences(other.schema)
        if lines:
            listed = "\n".join(f"  {line}" for line in lines)
            raise DataError(
                f"Sources '{first}' and '{name}' are not of one schema (here: '{first}'; there: "
                f"'{name}'):\n{listed}\nPrepare one of them anew."
            )
        classes = [source.metadata.get("classes") for source in (one, other)]
        if classes[0] != classes[1]:
            raise DataError(
                f"Sources '{first}' and '{name}' number their classes differently: {classes[0]} "
                f"and {classes[1]}. Prepare one of them anew with the classes of the other."
            )
    for name, source in sources.items():
        if not len(source):
            raise DataError(f"Source '{name}' ({source.path}) holds no rows; leave it out.")


def _checked(weights: Mapping[str, float], sources: Mapping[str, Records]) -> dict[str, Fraction]:
    for name in weights:
        if name not in sources:
            raise DataError(
                f"There is a weight for '{name}', but no such source; the sources are "
                f"{list(sources)}.{nearest(name, sources)}"
            )
    for name in sources:
        weight = weights.get(name, 0)
        if isinstance(weight, bool) or not 0 < weight < float("inf"):
            raise DataError(
                f"Each source needs a weight above 0; got {weights.get(name)!r} for '{name}'."
            )
    exact = {name: Fraction(weights[name]).limit_denominator(_FINEST) for name in sources}
    # A weight too small for that is kept as it is: shares are rounded, not lost.
    exact = {name: value or Fraction(weights[name]) for name, value in exact.items()}
    return {name: value / sum(exact.values()) for name, value in exact.items()}

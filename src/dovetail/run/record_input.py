"""Records as an input of a run: at home at every position."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

from dovetail.data.feed import Fed, RecordFeed
from dovetail.data.mixing import Mixed
from dovetail.data.records import Records
from dovetail.run.data_manifest import manifest
from dovetail.run.seeded_input import SeededInput

_SHOWN = 8


class RecordInput:
    """Records as an input: any position can be asked for, and gives the same batches ever again.

    Args:
      records: what to read.
      batch_size: examples per batch; only the last may be smaller.
      input_fn: maps rows to (features, labels); None gives fields by name.
      shuffle: whether each epoch has an order of its own.
      seed: of that order.
      epochs: how often all records come; None: for ever.
      limit: take only so many examples: those that the order of `seed` begins with.
      prefetch: how many batches are made ahead of need.
      repeatable: whether input_fn's random numbers are derived from seed and position. It seeds
        the global generators, which the caller is to put back.
    """

    positioned = True

    def __init__(
        self,
        records: Records | Mixed,
        *,
        batch_size: int,
        input_fn: Callable[..., Any] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        epochs: float | None = 1,
        limit: int | None = None,
        prefetch: int = 2,
        repeatable: bool = True,
    ) -> None:
        self.limit = limit
        if limit is not None and limit < len(records):
            # As stored, the first are often all of one class.
            records = records.select(records.examples(seed, 0, limit))
        self.records = records
        self.name = f"records {records.path}"
        self.batch_size = batch_size
        self.input_fn = input_fn
        self.shuffle = shuffle
        self.seed = seed
        self.total: int | None = None if epochs is None else round(epochs * len(records))
        self.prefetch = prefetch
        self.repeatable = repeatable

    @property
    def epoch_examples(self) -> int:
        """How many examples an epoch has."""
        return len(self.records)

    def batches(
        self,
        position: int,
        *,
        state: Mapping[str, Any] | None = None,
        say: Callable[[str], object] | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> Generator[Fed]:
        input_fn, prefetch = self.input_fn, self.prefetch
        if input_fn is not None and self.repeatable:
            input_fn = SeededInput(input_fn, self.seed, position)
            # The first batch is made here, which tells whether a thread may make the others.
            first = position + self.batch_size
            stop = first if self.total is None else min(first, self.total)
            for fed in self._feed(input_fn, position, stop, 0):
                position = fed.position_after
                yield fed
            if input_fn.draws_from_torch:
                prefetch = 0
        yield from self._feed(input_fn, position, self.total, prefetch)

    def _feed(
        self, input_fn: Callable[..., Any] | None, start: int, stop: int | None, prefetch: int
    ) -> RecordFeed:
        return RecordFeed(
            self.records,
            self.batch_size,
            seed=self.seed,
            shuffle=self.shuffle,
            input_fn=input_fn,
            start=start,
            stop=stop,
            prefetch=prefetch,
        )

    def describe(self, position: int, count: int) -> str:
        rows = self.records.examples(self.seed, position, count, self.shuffle)
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        return f"rows {', '.join(map(str, rows[:_SHOWN]))}{more} of {self.records.path}"

    def state(self, position: int) -> dict[str, Any] | None:
        return None  # the position is enough

    def note(self, step: int, position: int) -> str | None:
        return None

    def data(self) -> dict[str, Any]:
        return {
            "kind": "records",
            "path": str(self.records.path),
            "fingerprint": self.records.fingerprint,
            "rows": len(self.records),
            "schema": self.records.schema.to_list(),
            "batch_size": self.batch_size,
            "total": self.total,
            "limit": self.limit,
        }

    def manifest(self) -> dict[str, Any]:
        return manifest(self.records)

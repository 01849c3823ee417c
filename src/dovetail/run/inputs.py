"""Where a run's batches come from, and where in them it stands.

Whatever a user gives (a path to records, an input_fn, an iterable) becomes an `Input`: asked for
its batches from a position on, it yields them with the position that is reached when each is done.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from dovetail.data.feed import LABELS, Fed, RecordFeed, as_tensors
from dovetail.data.mixing import Mixed
from dovetail.data.records import Records
from dovetail.definition.definition import Definition
from dovetail.definition.modes import ModeKeys
from dovetail.definition.signature import Matched, where
from dovetail.errors import DataError, DefinitionError
from dovetail.program.batches import count
from dovetail.run.seeded_input import SeededInput


class Input(Protocol):
    """Batches from a position on.

    Attributes:
      name: what it is, for messages and the record of the run.
      positioned: whether batches can start at any position; if not, they start at their own.
      total: how many examples there are until the end, if that is known.
    """

    name: str
    positioned: bool
    total: int | None

    def batches(self, position: int) -> Generator[Fed]:
        """Yield batches from `position`, in examples since the beginning of the run."""
        ...

    def describe(self, position: int, count: int) -> str:
        """Say which examples a batch held, for messages."""
        ...


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
        if limit is not None and limit < len(records):
            # As stored, the first are often all of one class.
            records = records.select(records.examples(seed, 0, limit))
        self.records = records
        self.name = f"records {records.path}"
        self.batch_size = batch_size
        self.input_fn = input_fn
        self.shuffle = shuffle
        self.seed = seed
        self.total = None if epochs is None else round(epochs * len(records))
        self.prefetch = prefetch
        self.repeatable = repeatable

    def batches(self, position: int) -> Generator[Fed]:
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


_SHOWN = 8


class IterableInput:
    """Any iterable of (features, labels) as an input; it starts at its own beginning.

    Args:
      iterable: made anew for each run by the caller.
      name: of the function that made it, for messages.
    """

    positioned = False

    def __init__(self, iterable: Iterable[Any], name: str, *, labelled: bool = True) -> None:
        self.iterable = iterable
        self.name = name
        self.total: int | None = None
        self.labelled = labelled
        self.started_at = 0

    def batches(self, position: int) -> Generator[Fed]:
        self.started_at = position
        for item in self.iterable:
            features, labels = split_pair(item, self.name, labelled=self.labelled)
            features, labels = as_tensors(features), as_tensors(labels)
            examples = count(features, labels)
            position += examples
            yield Fed(features, labels, position, examples)

    def describe(self, position: int, count: int) -> str:
        first = position - self.started_at
        return f"examples {first} to {first + count - 1} of {self.name}, counted from 0"


def split_pair(item: Any, name: str, *, labelled: bool) -> tuple[Any, Any]:
    """Return (features, labels) of what an input gave for one batch.

    Raises:
      DataError: it is no such pair.
    """
    if not isinstance(item, (tuple, list)):
        return item, None
    if len(item) == 2:
        return item[0], item[1] if labelled else None
    if len(item) == 1:  # what a DataLoader over a TensorDataset of one tensor gives
        return item[0], None
    raise DataError(
        f"{name} gave a {type(item).__name__} of {len(item)} items for a batch; it must give "
        "(features, labels). Put several features into one dict."
    )


def open_input(
    source: Any,
    definition: Definition,
    mode: str,
    *,
    params: Any,
    config: Any,
    batch_size: int,
    seed: int = 0,
    epochs: float | None = 1,
    limit: int | None = None,
    prefetch: int = 2,
) -> Input:
    """Make an `Input` of what the user gave.

    Args:
      source: a path to records, `Records`, or an input_fn that returns one of these or an
        iterable of (features, labels).
      definition: its `input_fn(records)` applies to records.
      mode, params, config: what an input_fn may ask for.
      batch_size, seed, epochs, limit, prefetch: see `RecordInput`; they count for records only.

    Raises:
      DataError: the source is empty or none of these.
      DefinitionError: an input_fn's arguments can't be given.
    """
    offered = {"params": params, "mode": mode, "config": config}
    name = "input_fn"
    if callable(source) and not isinstance(source, (str, Path, Records, Mixed)):
        matched = Matched(source, ("params", "mode", "config"), what="input_fn")
        name = f"input_fn {where(source)}"
        source = matched(offered)
    if isinstance(source, (str, Path)):
        source = Records(source)
    if isinstance(source, (Records, Mixed)):
        return _record_input(
            source,
            definition,
            mode,
            offered,
            batch_size=batch_size,
            seed=seed,
            epochs=epochs,
            limit=limit,
            prefetch=prefetch,
        )
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], (Tensor, Mapping)):
        source = [source]  # one batch, as an input_fn of TensorFlow 1 would return it
    if not isinstance(source, Iterable) or isinstance(source, (Mapping, Tensor)):
        raise DataError(
            f"{name} returned a {type(source).__name__}. It must return an iterable of "
            "(features, labels), such as a list, a generator or a torch DataLoader, or a path to "
            "records."
        )
    return IterableInput(source, name, labelled=mode != ModeKeys.PREDICT)


def _record_input(
    records: Any,
    definition: Definition,
    mode: str,
    offered: Mapping[str, Any],
    *,
    batch_size: int,
    seed: int,
    epochs: float | None,
    limit: int | None,
    prefetch: int,
) -> RecordInput:
    if len(records) == 0:
        raise DataError(
            f"{records.path} holds no records, so there is nothing to "
            f"{_VERBS[mode]}. Prepare it from files that have examples."
        )
    if definition.schema is not None:
        _check_schema(records, definition, mode)
    return RecordInput(
        records,
        batch_size=batch_size,
        input_fn=_bound_input_fn(definition, mode, offered),
        shuffle=mode == ModeKeys.TRAIN and limit is None,
        seed=seed,
        epochs=epochs,
        limit=limit,
        prefetch=prefetch,
        # Between two predictions the caller's code runs, whose random numbers are its own.
        repeatable=mode != ModeKeys.PREDICT,
    )


def _bound_input_fn(
    definition: Definition, mode: str, offered: Mapping[str, Any]
) -> Callable[[Any], Any] | None:
    """Return the definition's input_fn as a function of the records alone."""
    matched = definition.input_fn
    if matched is None:
        return None
    settings = definition.params.get("input_fn")

    def input_fn(records: Any) -> Any:
        result = matched({"records": records, **offered}, settings)
        return split_pair(result, "input_fn", labelled=mode != ModeKeys.PREDICT)

    return input_fn


_VERBS: dict[str, str] = {
    ModeKeys.TRAIN: "train on",
    ModeKeys.EVAL: "evaluate",
    ModeKeys.PREDICT: "predict",
}


def _check_schema(records: Any, definition: Definition, mode: str) -> None:
    schema = definition.schema
    assert schema is not None
    differences = []
    for field in schema.fields:
        found = records.schema.get(field.name)
        if found is None and mode == ModeKeys.PREDICT and field.name in LABELS:
            continue  # what is to be predicted need not be known
        if found is None:
            differences.append(f"'{field.name}' is not in the records")
        elif (found.shape, found.dtype) != (field.shape, field.dtype):
            differences.append(f"data_schema has {field}; the records have {found}")
    if differences:
        raise DefinitionError(
            f"{records.path} does not match the data_schema of {definition.name}: "
            f"{'; '.join(differences)}. Change data_schema, or prepare the records again with it."
        )

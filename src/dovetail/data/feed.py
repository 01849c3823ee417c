"""From records to batches of tensors: gathered, given to input_fn, made ahead of the step."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from dovetail.data.mixing import Mixed
from dovetail.data.order import share
from dovetail.data.prefetch import Direct, Prefetched, WhereSlow, prefetch
from dovetail.data.read_ahead import ReadAhead
from dovetail.data.records import Records
from dovetail.data.rows import Rows
from dovetail.errors import DataError, DovetailError

InputFn = Callable[[Rows], Any]

LABELS = ("label", "labels")
_AS_GATHERED = "?bBhHiIlLqefd"  # dtypes, by numpy's letters, that torch takes as they are
_FEATURES = "input_fn's features"
_ORDERED_AT_ONCE = 1 << 14  # positions: their order costs 60 ns each so, and 5 us each one by one


class Fed(NamedTuple):
    """One batch.

    Attributes:
      features: a tensor, or a (nested) dict of tensors, batch first.
      labels: the same, or None.
      position_after: how many examples the run has had once this batch is done; of all workers.
      count: how many records went into the batch; of this worker.
    """

    features: Any
    labels: Any
    position_after: int
    count: int


class RecordFeed:
    """Batches from records, in the order of (seed, epoch, position), from any position on.

    Args:
      records: what to read.
      batch_size: examples a batch, over all workers. Batches cross epochs; only the last may be
        short.
      seed: which orders.
      shuffle: whether each epoch has an order of its own; else it is the stored one.
      input_fn: maps a batch of records (`Rows`) to (features, labels), or to features alone.
        Without it, fields named "label" or "labels" are the labels (shape [1] becomes [batch])
        and the others, in a dict, the features.
      start: how many examples were used before; a resumed run gives its position.
      stop: the position at which to end; None goes on for ever.
      prefetch: how many batches are made ahead, in a thread; without input_fn the thread is there
        only while batches are slow to read. 0: each is made when it is asked for.
      worker, workers: which share of each batch to read, of how many; see `order.share`. A worker
        without a share, as a last batch may be too short for all, gets features None.

    Raises:
      DataError: if there is no record, or a size makes no sense, or there is no such worker.

    Iterating gives `Fed` batches from `start` on, anew each time; the iterator has `close()`.

    >>> import tempfile
    >>> from dovetail.data.record_writer import RecordWriter
    >>> from dovetail.data.schema import Field, Schema
    >>> place = tempfile.mkdtemp() + "/records"
    >>> schema = Schema([Field("x", (2,), "float32"), Field("label", (1,), "int64")])
    >>> with RecordWriter(place, schema) as writer:
    ...     for number in range(5):
    ...         writer.append(([number, -number], number))
    >>> feed = RecordFeed(Records(place), batch_size=4, shuffle=False, stop=10)
    >>> [fed.labels.tolist() for fed in feed]
    [[0, 1, 2, 3], [4, 0, 1, 2], [3, 4]]
    """

    def __init__(
        self,
        records: Records | Mixed,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        input_fn: InputFn | None = None,
        start: int = 0,
        stop: int | None = None,
        prefetch: int = 2,
        worker: int = 0,
        workers: int = 1,
    ) -> None:
        if batch_size < 1:
            raise DataError(f"batch_size must be 1 or more; got {batch_size}.")
        share(batch_size, worker, workers)  # refuses a worker that there is not
        if len(records) == 0:
            raise DataError(
                f"{records.path} holds no examples: there is nothing to make a batch of. Check "
                "what was given to `dovetail prepare` (the pattern of the files, the split)."
            )
        self.records = records
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.input_fn = input_fn
        self.start = start
        self.stop = stop
        self.prefetch = prefetch
        self.worker = worker
        self.workers = workers

    def __iter__(self) -> Prefetched[Fed] | WhereSlow[Fed] | Direct[Fed]:
        if self.input_fn is None and self.prefetch:
            return WhereSlow(self._batches(), self.prefetch)
        return prefetch(self._batches(), self.prefetch)

    def examples(self, start: int, count: int) -> np.ndarray:
        """Say which records some positions of the run are: int64 [count], rows of `records`."""
        return self.records.examples(self.seed, start, count, self.shuffle)

    def _batches(self) -> Iterator[Fed]:
        position = self.start
        ordered = self.examples(position, 0)
        ahead = ReadAhead(
            self.records, self.batch_size, *share(self.batch_size, self.worker, self.workers)
        )
        while self.stop is None or position < self.stop:
            count = self.batch_size
            if self.stop is not None:
                count = min(count, self.stop - position)
            if len(ordered) < count + ahead.rows:
                more = max(_ORDERED_AT_ONCE, count)
                ordered = np.concatenate([ordered, self.examples(position + len(ordered), more)])
            chosen, ordered = ordered[:count], ordered[count:]
            ahead.advance(ordered if self.stop is None else ordered[: self.stop - position - count])
            begin, end = share(count, self.worker, self.workers)
            features, labels = self._batch(chosen[begin:end], position + begin)
            position += count
            yield Fed(features, labels, position, end - begin)

    def _batch(self, chosen: np.ndarray, position: int) -> tuple[Any, Any]:
        if len(chosen) == 0:
            return None, None
        if self.input_fn is None:
            return split_labels(self.records.gather(chosen))
        epoch = self.records.epochs(self.seed, position, len(chosen), self.shuffle)
        rows = self.records.rows(chosen, seed=self.seed, epoch=epoch)
        try:
            made = self.input_fn(rows)
        except DovetailError:
            raise
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise DataError(
                f"input_fn failed with {type(error).__name__}: {error} "
                f"({frame.filename}, line {frame.lineno}). Its batch: {self._said(chosen)}"
            ) from error
        if isinstance(made, tuple | list) and len(made) == 2:
            features, labels = made
            return as_tensors(features, _FEATURES), as_tensors(labels, "input_fn's labels")
        if isinstance(made, Mapping | np.ndarray | torch.Tensor):
            return as_tensors(made, _FEATURES), None
        raise DataError(
            "input_fn(records) must return (features, labels), or features alone, as arrays, "
            f"tensors or dicts of them; got {type(made).__name__}."
        )

    def _said(self, chosen: np.ndarray) -> str:
        shown = ", ".join(f"{row} ({self.records.where(row)})" for row in chosen[:8].tolist())
        more = f" and {len(chosen) - 8} more" if len(chosen) > 8 else ""
        return f"records {shown}{more} of {self.records.path}."


def split_labels(columns: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Part gathered columns into features and labels, as tensors.

    Args:
      columns: what `Records.gather` gives.

    Returns:
      features: a dict of every field that is not named "label" or "labels".
      labels: the field that is, [batch] if its shape is [1]; a dict if both are; None if none is.

    >>> split_labels({"x": np.zeros((2, 3)), "label": np.array([[4], [5]])})[1]
    tensor([4, 5])
    """
    tensors = {name: as_tensors(column) for name, column in columns.items()}
    labels = {name: tensors.pop(name) for name in LABELS if name in tensors}
    for name, label in labels.items():
        if isinstance(label, torch.Tensor) and label.shape[1:] == (1,):
            labels[name] = label.reshape(-1)
    return tensors, next(iter(labels.values())) if len(labels) == 1 else labels or None


def as_tensors(value: Any, what: str = "the batch") -> Any:
    """Turn arrays into tensors, sharing memory; within dicts, lists and tuples too.

    Args:
      value: an array, a number, a dict, list or tuple of them, or anything else (text, tensors,
        None), which stays as it is. A list or tuple of numbers becomes one tensor.
      what: names the value, for messages.

    Raises:
      DataError: if an array's dtype is none of torch's.

    >>> as_tensors({"x": np.ones(2, np.float32), "name": ["a", "b"]})
    {'x': tensor([1., 1.]), 'name': ['a', 'b']}
    """
    if isinstance(value, np.ndarray):
        return _as_tensor(value, what)
    if isinstance(value, Mapping):
        return {name: as_tensors(item, f"{what}['{name}']") for name, item in value.items()}
    if isinstance(value, np.generic):
        return _as_tensor(np.asarray(value), what)
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, bool | int | float | np.generic) for item in value):
            return _as_tensor(np.asarray(value), what)
        items = [as_tensors(item, f"{what}[{at}]") for at, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    return value


def _as_tensor(array: np.ndarray, what: str) -> Any:
    if array.flags.carray and array.dtype.isnative and array.dtype.char in _AS_GATHERED:
        return torch.from_numpy(array)
    if array.dtype == object or array.dtype.kind in "US":
        return array.tolist()
    # What torch has no tensors for: what is read-only, runs backwards, or lies or reads otherwise.
    steps = [stride < 0 or stride % max(array.itemsize, 1) for stride in array.strides]
    if not array.flags.writeable or not array.dtype.isnative or any(steps):
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise DataError(
            f"{what}: torch has no tensors of {array.dtype}. Convert the array to a dtype of "
            "torch's, such as float32 or int64."
        ) from error

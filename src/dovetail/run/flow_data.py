"""What tells the data of one pipeline from another's: its items, what they hold, its steps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import numpy as np

from dovetail.data.batches.actions import find_action
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.datasets.preloaded import RecordColumns
from dovetail.data.pipeline.feeding import Feeding
from dovetail.data.pipeline.flow import Pass
from dovetail.data.pipeline.steps import Call, Chance, Filter, Step, actions
from dovetail.run.code_digest import digest

_ITEMS = 256  # of a data set, whose values stand for all where there are more


def data_of(feeding: Feeding, how: Pass) -> dict[str, Any]:
    """Describe the data of a run that a pipeline feeds, as JSON.

    Args:
      feeding: the pipeline.
      how: the pass.
    """
    pipeline = feeding.pipeline
    assert pipeline.dataset is not None
    shuffle = how.shuffle if isinstance(how.shuffle, (bool, int)) else type(how.shuffle).__name__
    return {
        "kind": "pipeline",
        "path": repr(pipeline.dataset),
        "rows": len(pipeline.dataset),
        "fingerprint": fingerprint(pipeline.dataset),
        "steps": [str(step) for step in pipeline.steps],
        "actions": dict(_code(feeding)),
        "batch_size": how.batch_size,
        "shuffle": shuffle,
        "drop_last": how.drop_last,
    }


def fingerprint(dataset: Dataset) -> str:
    """Give a SHA-256 of a data set: of all ids, and of what is preloaded.

    Records are known by their own checksums. Of arrays some items stand for all, evenly spread;
    of a `FilesIndex`, whose files are read by actions, it is the names that count.

    >>> fingerprint(Dataset(3)) == fingerprint(Dataset(4))
    False
    """
    found = hashlib.sha256()
    ids = np.asarray(dataset.index.indices)
    found.update(f"{len(ids)} {ids.dtype.kind}".encode())
    if ids.dtype.kind in "iu":
        found.update(np.ascontiguousarray(ids).tobytes())
    else:
        found.update("\n".join(map(str, ids.tolist())).encode("utf-8", "surrogatepass"))
    source: Any = dataset.source
    if isinstance(source, RecordColumns):
        found.update(source.records.fingerprint.encode())
    elif source is not None:
        spread = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), _ITEMS)).astype(np.int64))
        for name in source.names or (None,):
            found.update(f"{name}\n".encode())
            _add(found, source.take(name, spread))
    return found.hexdigest()


def _add(found: Any, values: Any) -> None:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if isinstance(values, np.ndarray) and not values.dtype.hasobject:
        found.update(f"{values.dtype} {values.shape}".encode())
        found.update(np.ascontiguousarray(values).tobytes())
    elif isinstance(values, (list, tuple, np.ndarray)):
        for one in values:
            _add(found, one)
    elif isinstance(values, (str, bytes, int, float, np.generic)):
        found.update(repr(values).encode("utf-8", "surrogatepass"))
    else:  # whose text may hold where it lies in memory
        found.update(type(values).__qualname__.encode())


def _code(feeding: Feeding) -> Iterator[tuple[str, str]]:
    """Yield the name and the checksum of each function that the user wrote for the pipeline."""
    pipeline = feeding.pipeline
    for act in actions(pipeline.steps):
        assert pipeline.batch_class is not None
        find_action(pipeline.batch_class, act.name)
        method = getattr(pipeline.batch_class, act.name)
        if isinstance(method, FunctionType) and not method.__module__.startswith("dovetail."):
            yield act.name, digest(method)
    functions = [*_functions(pipeline.steps), *_values(feeding.features), *_values(feeding.labels)]
    for function in functions:
        if isinstance(function, FunctionType):
            yield function.__qualname__.removeprefix("<locals>."), digest(function)


def _functions(steps: tuple[Step, ...]) -> Iterator[Any]:
    for step in steps:
        if isinstance(step, Call):
            yield step.function
        elif isinstance(step, Filter):
            yield step.predicate
        elif isinstance(step, Chance):
            yield from _functions(step.steps)


def _values(what: Any) -> Iterator[Any]:
    if isinstance(what, dict):
        for one in what.values():
            yield from _values(one)
    else:
        yield what

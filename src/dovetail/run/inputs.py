"""Where a run's batches come from, and where in them it stands.

Whatever a user gives (a path to records, an input_fn, an iterable) becomes an `Input`: asked for
its batches from a position on, it yields them with the position that is reached when each is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from dovetail.data.datasets.dataset import Dataset
from dovetail.data.feed import LABELS, Fed
from dovetail.data.mixing import Mixed
from dovetail.data.pipeline.feeding import Feeding
from dovetail.data.pipeline.pipeline import Pipeline
from dovetail.data.records import Records
from dovetail.definition.definition import Definition
from dovetail.definition.modes import ModeKeys
from dovetail.definition.signature import Matched, where
from dovetail.errors import DataError, DefinitionError, a_kind
from dovetail.run.flow_input import FlowInput
from dovetail.run.iterable_input import IterableInput, Unpositioned
from dovetail.run.pairs import split_pair
from dovetail.run.record_input import RecordInput


class Input(Protocol):
    """Batches from a position on.

    Attributes:
      name: what it is, for messages and the record of the run.
      total: how many examples there are until the end, if that is known.
    """

    name: str
    total: int | None

    @property
    def positioned(self) -> bool:
        """Whether batches can start where a run stands; if not, see `unpositioned_input`."""
        ...

    def batches(
        self,
        position: int,
        *,
        state: Mapping[str, Any] | None = None,
        say: Callable[[str], object] | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> Generator[Fed]:
        """Yield batches from `position`, in examples since the beginning of the run.

        Args:
          position: where the run stands.
          state: what `state(position)` gave when it was there.
          say: is told of what takes long before the first batch.
          stopped: asked meanwhile; once it says so, nothing is yielded.
        """
        ...

    def state(self, position: int) -> dict[str, Any] | None:
        """Return what `batches` needs beside the position to go on, as JSON; None: nothing.

        Args:
          position: after the batches of finished steps, of which the last was drawn last.
        """
        ...

    def note(self, step: int, position: int) -> str | None:
        """Say what keeps the run from being, or having been, resumed exactly; None: nothing.

        Args:
          step, position: where the run stood when it began. The first batch is drawn by now.
        """
        ...

    def data(self) -> dict[str, Any]:
        """Say what data it is, to tell other data from it, as JSON."""
        ...

    def manifest(self) -> dict[str, Any]:
        """Say what there is to check the data by, as JSON."""
        ...

    def describe(self, position: int, count: int) -> str:
        """Say which examples a batch held, for messages."""
        ...


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
      source: a path to records, `Records`, a `Dataset`, a `Pipeline` or what its `feed` gives; or
        an input_fn that returns one of these or an iterable of (features, labels).
      definition: its `input_fn(records)` applies to records.
      mode, params, config: what an input_fn may ask for; config.unpositioned_input says what a
        resumed training does with an iterable that can't be positioned.
      batch_size, seed, epochs, limit, prefetch: see `RecordInput`; they count for records, and
        but for `limit` for pipelines of which nothing else was said.

    Raises:
      DataError: the source is empty or none of these.
      DefinitionError: an input_fn's arguments can't be given.
    """
    offered = {"params": params, "mode": mode, "config": config}
    name, function = "input_fn", None
    if callable(source) and not isinstance(source, (str, Path, Records, Mixed)):
        matched = Matched(source, ("params", "mode", "config"), what="input_fn")
        name, function = f"input_fn {where(source)}", source
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
    if isinstance(source, (Dataset, Pipeline)):
        source = Feeding(source.p if isinstance(source, Dataset) else source)
    training = mode == ModeKeys.TRAIN
    unpositioned: Unpositioned = "restart"
    if training:
        unpositioned = getattr(config, "unpositioned_input", unpositioned)
    if isinstance(source, Feeding):
        return _flow_input(
            source,
            name if function else "the pipeline",
            mode,
            batch_size=batch_size,
            seed=seed,
            epochs=epochs,
            prefetch=prefetch,
            unpositioned=unpositioned,
            function=function,
        )
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], (Tensor, Mapping)):
        source = [source]  # one batch, as an input_fn of TensorFlow 1 would return it
    if not isinstance(source, Iterable) or isinstance(source, (Mapping, Tensor)):
        raise DataError(
            f"{name} returned {a_kind(source)}. It must return an iterable of "
            "(features, labels), such as a list, a generator or a torch DataLoader, a path to "
            "records, a Dataset or a Pipeline."
        )
    return IterableInput(
        source,
        name,
        labelled=mode != ModeKeys.PREDICT,
        seed=seed,
        unpositioned=unpositioned,
        repeatable=mode != ModeKeys.PREDICT,
        function=function,
    )


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


def _flow_input(
    feeding: Feeding,
    name: str,
    mode: str,
    *,
    batch_size: int,
    seed: int,
    epochs: float | None,
    prefetch: int,
    unpositioned: Unpositioned,
    function: Callable[..., Any] | None,
) -> FlowInput:
    otherwise: dict[str, Any] = {"batch_size": batch_size, "seed": seed}
    if not feeding.says_how:
        dataset = feeding.pipeline.dataset
        assert dataset is not None
        whole = epochs is None or float(epochs).is_integer()
        steps = None if whole else math.ceil(float(epochs or 0) * len(dataset) / batch_size)
        otherwise |= {
            "shuffle": mode == ModeKeys.TRAIN,
            "n_epochs": int(epochs) if whole and epochs is not None else None,
            "n_iters": steps,
            "prefetch": prefetch,
        }
    return FlowInput(
        feeding,
        feeding.how(otherwise),
        name,
        labelled=mode != ModeKeys.PREDICT,
        seed=seed,
        unpositioned=unpositioned,
        repeatable=mode != ModeKeys.PREDICT,
        function=function,
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

"""What worker processes are told once: the data set, the steps, config, variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dovetail.data.pipeline.crossing import Packed, pack
from dovetail.data.pipeline.steps import BatchStep, Chance, every_step
from dovetail.errors import DataError, ParamsError

if TYPE_CHECKING:
    from dovetail.data.datasets.dataset import Dataset
    from dovetail.data.pipeline.pipeline import Pipeline

CURE = "prefetch with threads: target='threads'."


@dataclass(frozen=True)
class Job:
    """What a worker is told once.

    Attributes:
      dataset: that the batches are of.
      steps: to be done to each.
      config, variables: of the pipeline.
    """

    dataset: Dataset
    steps: tuple[BatchStep, ...]
    config: Sent
    variables: Sent


class Sent(Mapping[str, Any]):
    """The entries of a config, or the variables, as far as they can be sent.

    Args:
      entries: those that can.
      left_out: why the others can't.
      what: they are.
    """

    def __init__(self, entries: Mapping[str, Any], left_out: Mapping[str, str], what: str) -> None:
        self._entries, self._left_out, self._what = dict(entries), dict(left_out), what

    @classmethod
    def of(cls, entries: Mapping[str, Any], what: str) -> Sent:
        """Sort out what can be sent."""
        kept: dict[str, Any] = {}
        left_out: dict[str, str] = {}
        for name, value in entries.items():
            try:
                pack(value)
                kept[name] = value
            except Exception as error:  # whatever pickle makes of someone else's object
                left_out[name] = f"{type(error).__name__}: {error}"
        return cls(kept, left_out, what)

    def __getitem__(self, name: str) -> Any:
        if name in self._left_out:
            raise ParamsError(
                f"The {self._what} '{name}' can't be sent to a worker process "
                f"({self._left_out[name]}). Prefetch with threads: target='threads'."
            )
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._left_out

    def __iter__(self) -> Iterator[str]:
        yield from self._entries
        yield from self._left_out

    def __len__(self) -> int:
        return len(self._entries) + len(self._left_out)


def packed_job(steps: Sequence[BatchStep], pipeline: Pipeline) -> Packed:
    """Pickle what the workers of a pass are told.

    Raises:
      DataError: naming what can't be sent, and the cure.
    """
    dataset = pipeline.dataset
    assert dataset is not None
    for step in every_step(steps):
        if not isinstance(step, Chance):
            _check(step, f"The pipeline's step {step}")
    _check(dataset.batch_class, f"The batch class {dataset.batch_class.__qualname__}")
    _check(dataset, f"The data set {dataset!r}")
    config = Sent.of(pipeline.config, "config's entry")
    variables = Sent.of({name: pipeline.variables[name] for name in pipeline.variables}, "variable")
    return pack(Job(dataset, tuple(steps), config, variables))


def _check(value: Any, what: str) -> None:
    try:
        pack(value)
    except Exception as error:  # whatever pickle makes of someone else's object
        raise DataError(
            f"{what} can't be sent to worker processes ({type(error).__name__}: {error}). Define "
            "classes and functions at the top level of a file that can be imported, not in a "
            f"notebook or in a function, and use no lambda; or {CURE}"
        ) from error

"""The steps that a pipeline is made of, as values: what is done, with what, to each batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dovetail.data.pipeline.named import has_named

if TYPE_CHECKING:
    from dovetail.data.pipeline.pipeline import Pipeline


@dataclass(frozen=True, eq=False)
class Act:
    """An action of the batch, by its name."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None

    @property
    def named(self) -> bool:
        """Whether an argument is to be looked up for each batch."""
        return has_named(self.args) or has_named(dict(self.kwargs or {}))

    def __str__(self) -> str:
        given = [_short(one) for one in self.args]
        given += [f"{key}={_short(one)}" for key, one in (self.kwargs or {}).items()]
        return f"{self.name}({', '.join(given)})"


@dataclass(frozen=True, eq=False)
class Call:
    """A function of the batch; a batch that it returns takes its place."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        name = getattr(self.function, "__name__", repr(self.function))
        return f"call {', '.join([name, *map(_short, self.args)])}"


@dataclass(frozen=True, eq=False)
class Update:
    """Writing a variable of the pipeline."""

    variable: str
    value: Any
    mode: str

    def __str__(self) -> str:
        return f"update_variable {self.variable} ({self.mode}) {_short(self.value)}"


@dataclass(frozen=True, eq=False)
class Filter:
    """Keeping a batch or not, or some of its items."""

    predicate: Any

    def __str__(self) -> str:
        return f"filter {_short(self.predicate)}"


@dataclass(frozen=True, eq=False)
class Chance:
    """Steps that are done with a probability."""

    steps: tuple[Step, ...]
    probability: float

    def __str__(self) -> str:
        return f"with probability {self.probability:g}"


@dataclass(frozen=True, eq=False)
class Join:
    """Taking the next batch of other pipelines: the next action gets them as arguments."""

    pipelines: tuple[Pipeline, ...]

    def __str__(self) -> str:
        return f"join {len(self.pipelines)} pipeline{'s' * (len(self.pipelines) != 1)}"


@dataclass(frozen=True, eq=False)
class Merge:
    """Taking the next batch of other pipelines and making one batch of all."""

    pipelines: tuple[Pipeline, ...]
    function: Callable[..., Any] | None = None

    def __str__(self) -> str:
        return f"merge {len(self.pipelines)} pipeline{'s' * (len(self.pipelines) != 1)}"


@dataclass(frozen=True, eq=False)
class Rebatch:
    """Batches of another size."""

    batch_size: int
    drop_last: bool = False

    def __str__(self) -> str:
        return f"rebatch {self.batch_size}{' drop_last' * self.drop_last}"


BatchStep = Act | Call | Update | Filter | Chance
"""What is done to one batch, knowing no other."""
StreamStep = Join | Merge | Rebatch
"""What needs the batches in their order."""
Step = BatchStep | StreamStep


def streams(steps: tuple[Step, ...]) -> list[StreamStep]:
    """List the steps that need batches in order."""
    return [step for step in steps if isinstance(step, StreamStep)]


def actions(steps: tuple[Step, ...]) -> list[Act]:
    """List the actions among steps, nested ones too."""
    found: list[Act] = []
    for step in steps:
        if isinstance(step, Act):
            found.append(step)
        elif isinstance(step, Chance):
            found.extend(actions(step.steps))
    return found


def every_step(steps: Sequence[Step]) -> list[Step]:
    """List steps, nested ones too, each once, though it may be done several times."""
    found: dict[int, Step] = {}
    for step in steps:
        found[id(step)] = step
        if isinstance(step, Chance):
            found.update((id(one), one) for one in every_step(step.steps))
    return list(found.values())


def _short(value: Any) -> str:
    name = getattr(value, "__name__", None)
    text = name if callable(value) and isinstance(name, str) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."

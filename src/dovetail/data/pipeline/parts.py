"""What a pipeline is made of: the part that never changes, and what it gathers while it runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from dovetail.data.pipeline.batch_steps import Timings
from dovetail.data.pipeline.locks import Locks
from dovetail.data.pipeline.models import DeclaredModel, Models
from dovetail.data.pipeline.steps import Step
from dovetail.data.pipeline.variables import Declared, Variables

if TYPE_CHECKING:
    from dovetail.data.batches.batch import Batch
    from dovetail.data.datasets.dataset import Dataset
    from dovetail.data.pipeline.flow import Flow, Pass


class PipelineParts:
    """What all methods of a pipeline build on."""

    dataset: Dataset | None
    config: Mapping[str, Any]
    steps: tuple[Step, ...]
    _declared: dict[str, Declared]
    _models: dict[str, DeclaredModel]
    _model_configs: dict[str, Mapping[str, Any]]
    _lazy: Pass | None
    _live: Live

    @property
    def batch_class(self) -> type[Batch] | None:
        """The class of the batches; None for a template."""
        return self.dataset.batch_class if self.dataset is not None else None

    def _with(self, **changes: Any) -> Self:
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.__dict__.update(changes)
        made._live = Live()
        return made

    def _and(self, step: Step) -> Self:
        return self._with(steps=(*self.steps, step))


class Live:
    """What a pipeline object gathers while it runs; one made from it begins without."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.locks = Locks()
        self.variables: Variables | None = None
        self.models: Models | None = None
        self.flow: Flow | None = None
        self.timings = Timings()
        self.kept: dict[tuple[str, ...], Any] = {}


def overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put one config over another, nested ones too.

    >>> overlaid({"net": {"width": 3, "depth": 2}}, {"net": {"width": 5}})
    {'net': {'width': 5, 'depth': 2}}
    """
    made = dict(base)
    for key, value in over.items():
        held = made.get(key)
        both = isinstance(held, Mapping) and isinstance(value, Mapping)
        made[key] = overlaid(cast(Mapping[str, Any], held), value) if both else value
    return made

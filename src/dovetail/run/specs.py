"""What is trained and what is evaluated beside it, as checked values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dovetail.errors import ParamsError, a_kind
from dovetail.run.exporters import Exporter, checked_exporters
from dovetail.run.hooks import Hook, SavingListener, checked_hooks, checked_listeners


@dataclass(frozen=True)
class TrainSpec:
    """What `train_and_evaluate` trains on.

    Args:
      input_fn: as `Estimator.train` takes it.
      max_steps: the global step to end at; None: where the input ends.
      hooks: called at each step, and after each evaluation.
      saving_listeners: told of each checkpoint.

    Raises:
      ParamsError: an argument is of the wrong kind.

    Example:
      >>> TrainSpec("records/train", max_steps=1000).hooks
      ()
    """

    input_fn: Any
    max_steps: int | None = None
    hooks: Sequence[Hook] | None = None
    saving_listeners: Sequence[SavingListener] | None = None

    def __post_init__(self) -> None:
        _check_number("TrainSpec", "max_steps", self.max_steps)
        object.__setattr__(self, "hooks", checked_hooks(self.hooks))
        object.__setattr__(self, "saving_listeners", checked_listeners(self.saving_listeners))


@dataclass(frozen=True)
class EvalSpec:
    """One evaluation beside training.

    Args:
      input_fn: as `Estimator.evaluate` takes it. It is called anew for each evaluation; records
        come from their beginning each time.
      steps: how many batches; None: the whole input.
      name: of this evaluation, if there are several: its event log is in `eval_<name>`.
      hooks: called at each batch of the evaluation.
      exporters: what keeps checkpoints by what the evaluations say of them.
      start_delay_secs: how long after its start a process that follows a run evaluates first.
      throttle_secs: how long it waits between two evaluations. Neither counts beside training,
        where each checkpoint is evaluated when it is saved.

    Raises:
      ParamsError: an argument is of the wrong kind.

    Example:
      >>> EvalSpec("records/test", steps=None, name="test").folder
      'eval_test'
    """

    input_fn: Any
    steps: int | None = 100
    name: str | None = None
    hooks: Sequence[Hook] | None = None
    exporters: Exporter | Sequence[Exporter] | None = None
    start_delay_secs: float = 120
    throttle_secs: float = 600

    def __post_init__(self) -> None:
        _check_number("EvalSpec", "steps", self.steps)
        for field in ("start_delay_secs", "throttle_secs"):
            value = getattr(self, field)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise ParamsError(f"EvalSpec: {field} must be seconds, 0 or more; it is {value!r}.")
        name = self.name
        if name is not None and (not isinstance(name, str) or not name or set(name) & set("/\\\0")):
            raise ParamsError(
                f"EvalSpec: name must be text without '/', since it is part of a folder's name; it "
                f"is {name!r}."
            )
        object.__setattr__(self, "hooks", checked_hooks(self.hooks))
        object.__setattr__(self, "exporters", checked_exporters(self.exporters))

    @property
    def folder(self) -> str:
        """The folder of its event log, in model_dir."""
        return f"eval_{self.name}" if self.name else "eval"


def checked_specs(given: EvalSpec | Sequence[EvalSpec]) -> tuple[EvalSpec, ...]:
    """Return one or several EvalSpecs as a tuple.

    Raises:
      ParamsError: one is something else, or two write to one event log or one export.
    """
    specs = tuple(given) if isinstance(given, Sequence) else (given,)
    for spec in specs:
        if not isinstance(spec, EvalSpec):
            raise ParamsError(
                f"What is evaluated must be a dovetail.EvalSpec or a list of such; there is "
                f"{spec!r}, {a_kind(spec)}."
            )
    folders = [spec.folder for spec in specs]
    for folder in folders:
        if folders.count(folder) > 1:
            raise ParamsError(
                f"Two EvalSpecs would write to '{folder}': give each a name of its own, "
                "EvalSpec(..., name='test')."
            )
    names = [exporter.name for spec in specs for exporter in checked_exporters(spec.exporters)]
    for name in names:
        if names.count(name) > 1:
            raise ParamsError(
                f"Two exporters would export to 'export/{name}': give each a name of its own, "
                "such as BestExporter('best_of_test')."
            )
    return specs


def _check_number(where: str, name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ParamsError(f"{where}: {name} must be a whole number above 0; it is {value!r}.")

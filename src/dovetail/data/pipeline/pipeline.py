"""Pipelines: lazy chains of actions over the batches of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, cast

from dovetail.data.batches.actions import UnknownActionError, actions_of, find_action
from dovetail.data.pipeline.batch_steps import Timings
from dovetail.data.pipeline.flow import Pass
from dovetail.data.pipeline.models import DeclaredModel
from dovetail.data.pipeline.named import Function, Named
from dovetail.data.pipeline.own_models import ModelsOfPipeline
from dovetail.data.pipeline.own_variables import VariablesOfPipeline
from dovetail.data.pipeline.parts import Live, overlaid
from dovetail.data.pipeline.running import RunningOfPipeline
from dovetail.data.pipeline.steps import (
    Act,
    BatchStep,
    Call,
    Chance,
    Filter,
    Join,
    Merge,
    Rebatch,
    Step,
    StreamStep,
    Update,
    actions,
)
from dovetail.data.pipeline.variables import Declared, checked_mode
from dovetail.errors import DataError, DefinitionError, ParamsError, nearest

if TYPE_CHECKING:
    from dovetail.data.batches.batch import Batch
    from dovetail.data.datasets.dataset import Dataset


class Pipeline(RunningOfPipeline, ModelsOfPipeline, VariablesOfPipeline):
    """Actions of a batch class, one after another, to be done to the batches of a data set.

    Nothing is done until it is run. Each method that adds a step, and each operator, gives a new
    pipeline and leaves its operands as they were; one without a data set is a template. Its
    actions are methods, under the names that its batch class gives them.

    Args:
      dataset: to take batches of; None: see `<<`.
      config: settings for actions and models: a model's own are under its name.

    Attributes:
      dataset, config: as given.
      steps: what is done to each batch.

    >>> import numpy as np
    >>> from dovetail.data.batches.actions import action
    >>> from dovetail.data.batches.batch import Batch
    >>> from dovetail.data.datasets.dataset import Dataset
    >>> class Numbers(Batch):
    ...     components = ("x",)
    ...     @action
    ...     def add(self, n):
    ...         self.x = self.x + n
    ...         return self
    >>> pipeline = Dataset(4, Numbers, preloaded=(np.arange(4),)).p.add(10) * 2
    >>> [batch.x.tolist() for batch in pipeline.gen_batch(3)]
    [[20, 21, 22], [23]]
    """

    def __init__(
        self, dataset: Dataset | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        if config is not None and not isinstance(config, Mapping):
            raise ParamsError(f"The config of a pipeline is a dict; got {config!r}.")
        self.dataset = dataset
        self.config: Mapping[str, Any] = dict(config or {})
        self.steps: tuple[Step, ...] = ()
        self._declared: dict[str, Declared] = {}
        self._models: dict[str, DeclaredModel] = {}
        self._model_configs: dict[str, Mapping[str, Any]] = {}
        self._lazy: Pass | None = None
        self._live = Live()

    # Making pipelines of pipelines.

    def __add__(self, other: Pipeline) -> Pipeline:
        """Do this one's steps, then the other's; variables, models and config are of both."""
        if not isinstance(other, Pipeline):
            return NotImplemented
        dataset = self.dataset if self.dataset is not None else other.dataset
        if other.dataset is not None and other.dataset is not dataset:
            raise ParamsError(
                "Two pipelines of different data sets can't be put together with +. Leave one "
                "without: template + pipeline; or merge their batches: pipeline.merge(other)."
            )
        made = self._with(
            dataset=dataset,
            config=overlaid(self.config, other.config),
            steps=(*self.steps, *other.steps),
            _declared=_variables_together(self._declared, other._declared),
            _models=_together(self._models, other._models),
            _model_configs=overlaid(self._model_configs, other._model_configs),
            _lazy=self._lazy or other._lazy,
        )
        return made._checked()

    def __mul__(self, times: int) -> Pipeline:
        """Do the steps several times over; 0 times is nothing."""
        if not isinstance(times, Integral) or isinstance(times, bool):
            return NotImplemented
        if times < 0:
            raise ParamsError(f"A pipeline is repeated 0 or more times; got {times}.")
        return self._with(steps=self.steps * int(times))

    __rmul__ = __mul__

    def __matmul__(self, probability: float) -> Pipeline:
        """Do the steps with a probability, decided for each batch by the seed and its number."""
        if not isinstance(probability, Real) or isinstance(probability, bool):
            return NotImplemented
        if not 0 <= probability <= 1:
            raise ParamsError(f"A probability lies between 0 and 1; got {probability}.")
        for step in self.steps:
            if isinstance(step, StreamStep):
                raise ParamsError(
                    f"A pipeline with the step '{step}' can't be run with a probability: that "
                    "step needs all batches, in order."
                )
        steps = cast(tuple[BatchStep, ...], self.steps)
        return self._with(steps=(Chance(steps, float(probability)),) if steps else ())

    def __lshift__(self, dataset: Dataset) -> Pipeline:
        """Bind the pipeline to a data set; every action must be one of its batch class."""
        if not hasattr(type(dataset), "create_batch"):
            raise ParamsError(
                f"pipeline << dataset: on the right stands a data set; got {dataset!r}."
            )
        return self._with(dataset=dataset)._checked()

    def _checked(self) -> Pipeline:
        """Return this pipeline if its batch class has all of its actions."""
        if self.batch_class is not None:
            hidden = sorted(actions_of(self.batch_class).keys() & set(dir(Pipeline)))
            if hidden:
                raise DefinitionError(
                    f"{self.batch_class.__name__} has an action '{hidden[0]}', and a pipeline has "
                    f"a method of that name: {hidden[0]}() would not be the action. Call the "
                    "action otherwise."
                )
            for act in actions(self.steps):
                self._check(act.name)
        return self

    def _check(self, name: str) -> None:
        assert self.batch_class is not None
        try:
            find_action(self.batch_class, name)
        except UnknownActionError as error:
            own = [one for one in dir(type(self)) if not one.startswith("_")]
            hint = "" if "Did you mean" in str(error) else nearest(name, own)
            raise UnknownActionError(f"{error}{hint}") from None

    def __getattr__(self, name: str) -> Callable[..., Pipeline]:
        # Only what is no method of pipelines comes here: an action.
        if name.startswith("_") or "steps" not in self.__dict__:
            raise AttributeError(f"A pipeline has no '{name}'.")
        if self.batch_class is not None:
            self._check(name)

        def added(*args: Any, **kwargs: Any) -> Pipeline:
            return self._and(Act(name, args, kwargs))

        added.__name__ = added.__qualname__ = name
        added.__doc__ = getattr(getattr(self.batch_class, name, None), "__doc__", None)
        return added

    def __dir__(self) -> Iterable[str]:
        known = actions_of(self.batch_class) if self.batch_class is not None else ()
        return [*super().__dir__(), *known]

    # Steps that are not actions.

    def call(self, function: Callable[..., Any], *args: Any) -> Pipeline:
        """Add a call of a function with the batch; a batch that it returns takes its place."""
        if not callable(function):
            raise ParamsError(f"call takes a function of the batch; got {function!r}.")
        return self._and(Call(function, args))

    def filter(self, predicate: Any) -> Pipeline:
        """Add a filter.

        Args:
          predicate: a function of the batch (or a named value) that gives True or False for the
            batch, or an array [n] of them for its items.
        """
        if not callable(predicate) and not isinstance(predicate, Named):
            raise ParamsError(f"filter takes a function of the batch; got {predicate!r}.")
        return self._and(Filter(predicate))

    def update_variable(self, name: str, value: Any, mode: str = "set") -> Pipeline:
        """Add a step that writes a variable.

        Args:
          name: of the variable.
          value: as a rule a named value, such as `Component("loss")`, or a function of the batch.
          mode: "set", "append", "extend", "update" (of a dict), or "add" (by +).
        """
        if isinstance(value, (FunctionType, MethodType)):
            value = Function(value)
        return self._and(Update(name, value, checked_mode(mode)))

    def rebatch(self, batch_size: int, *, drop_last: bool = False) -> Pipeline:
        """Add a change of the batch size, from here on."""
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise ParamsError(f"rebatch takes a batch size of 1 or more; got {batch_size!r}.")
        return self._and(Rebatch(batch_size, drop_last))

    def join(self, *pipelines: Pipeline) -> Pipeline:
        """Have the next action get, before its own arguments, a batch of each other pipeline."""
        return self._and(Join(_others("join", pipelines)))

    def merge(
        self, *pipelines: Pipeline, function: Callable[[list[Batch]], Batch] | None = None
    ) -> Pipeline:
        """Make one batch of each batch and one of each other pipeline.

        Args:
          pipelines: to take a batch of.
          function: makes one batch of a list; None: the batch class's `merge`.
        """
        return self._and(Merge(_others("merge", pipelines), function))

    # Looking at it.

    @property
    def timings_kept(self) -> Timings:
        """Where running counts how long each step took."""
        return self._live.timings

    def timings(self) -> list[dict[str, Any]]:
        """List for each step how often it was done here, and how many seconds that took in all."""
        from dovetail.data.pipeline.description import timed

        return timed(self.steps, self.timings_kept)

    def describe(self) -> str:
        """Give a readable table of the pipeline: its data, its steps, variables and models."""
        from dovetail.data.pipeline.description import described

        return described(self, self._declared, self._models)

    def __repr__(self) -> str:
        over = repr(self.dataset) if self.dataset is not None else "no data set"
        count = len(self.steps)
        return f"Pipeline({over}, {count} step{'s' * (count != 1)})"


def _others(what: str, pipelines: tuple[Any, ...]) -> tuple[Pipeline, ...]:
    if not pipelines or not all(isinstance(one, Pipeline) for one in pipelines):
        raise ParamsError(f"{what} takes other pipelines; got {pipelines!r}.")
    for one in pipelines:
        if one.dataset is None:
            raise DataError(
                f"{what}: a pipeline that gives batches to another needs a data set of its own. "
                "Bind it first: pipeline << dataset."
            )
    return pipelines


def _variables_together(
    one: Mapping[str, Declared], other: Mapping[str, Declared]
) -> dict[str, Declared]:
    for name in one.keys() & other.keys():
        if not one[name].begins_as(other[name]):
            raise ParamsError(
                f"Both pipelines declare a variable '{name}', which begins differently "
                f"({one[name]} and {other[name]}), and + would lose one of them. Call one of them "
                "otherwise, or declare it once, in a template that both are made from."
            )
    return {**one, **other}


def _together(
    one: Mapping[str, DeclaredModel], other: Mapping[str, DeclaredModel]
) -> dict[str, DeclaredModel]:
    for name in one.keys() & other.keys():
        if one[name] != other[name]:
            raise ParamsError(
                f"Both pipelines have a model '{name}' of their own, and + would lose one of "
                "them. Declare it once, in a template that both are made from."
            )
    return {**one, **other}

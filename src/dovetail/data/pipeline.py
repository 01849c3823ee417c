"""Pipelines: lazy chains of actions over the batches of a data set."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from dovetail.data.actions import UnknownActionError, actions_of, find_action
from dovetail.data.batch_steps import Timings
from dovetail.data.flow import Flow, Pass, counted
from dovetail.data.locks import Locks
from dovetail.data.model_methods import ModelMethod, find_model, models_of
from dovetail.data.pipeline_models import DeclaredModel, Imported, Models, Static, Stored
from dovetail.data.pipeline_steps import (
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
from dovetail.data.variables import Declared, Variables, checked_mode
from dovetail.errors import DataError, DefinitionError, ParamsError, nearest

if TYPE_CHECKING:
    from dovetail.data.batch import Batch
    from dovetail.data.dataset import Dataset
    from dovetail.data.feeding import Feeding


class Pipeline:
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
    >>> from dovetail.data.actions import action
    >>> from dovetail.data.batch import Batch
    >>> from dovetail.data.dataset import Dataset
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
        self._live = _Live()

    # Making pipelines of pipelines.

    def _with(self, **changes: Any) -> Pipeline:
        made = Pipeline.__new__(Pipeline)
        made.__dict__.update(self.__dict__)
        made.__dict__.update(changes)
        made._live = _Live()
        return made

    def _and(self, step: Step) -> Pipeline:
        return self._with(steps=(*self.steps, step))

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
            config=_overlaid(self.config, other.config),
            steps=(*self.steps, *other.steps),
            _declared=self._declared | other._declared,
            _models=_together(self._models, other._models),
            _model_configs=_overlaid(self._model_configs, other._model_configs),
            _lazy=self._lazy or other._lazy,
        )
        return made._checked()

    def __mul__(self, times: int) -> Pipeline:
        """Do the steps several times over; 0 times is nothing."""
        if not isinstance(times, int) or isinstance(times, bool):
            return NotImplemented
        if times < 0:
            raise ParamsError(f"A pipeline is repeated 0 or more times; got {times}.")
        return self._with(steps=self.steps * times)

    __rmul__ = __mul__

    def __matmul__(self, probability: float) -> Pipeline:
        """Do the steps with a probability, decided for each batch by the seed and its number."""
        if not isinstance(probability, (int, float)) or isinstance(probability, bool):
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

    @property
    def batch_class(self) -> type[Batch] | None:
        """The class of the batches; None for a template."""
        return self.dataset.batch_class if self.dataset is not None else None

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
        return self._and(Filter(predicate))

    def update_variable(self, name: str, value: Any, mode: str = "set") -> Pipeline:
        """Add a step that writes a variable.

        Args:
          name: of the variable.
          value: as a rule a named value, such as `Component("loss")`.
          mode: "set", "append", "extend", "update" (of a dict), or "add" (by +).
        """
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

    # Variables.

    def init_variable(
        self, name: str, default: Any = None, *, init: Callable[[], Any] | None = None
    ) -> Pipeline:
        """Declare a variable, which each pipeline made from this one has for itself.

        Args:
          name: of the variable.
          default: its first value. A list, dict or set is copied for each pipeline; other objects
            are shared.
          init: makes the first value anew for each pipeline.
        """
        return self._with(_declared={**self._declared, name: Declared(default, init)})

    @property
    def variables(self) -> Variables:
        """The variables of this pipeline object."""
        live = self._live
        with live.lock:
            if live.variables is None:
                live.variables = Variables(self._declared)
            return live.variables

    def get_variable(
        self, name: str, default: Any = ..., *, init: Callable[[], Any] | None = None
    ) -> Any:
        """Give a variable's value; one that is not there begins with `default` if that is given."""
        if default is ... and init is None:
            return self.variables[name]
        return self.variables.get(name, None if default is ... else default, init)

    def set_variable(self, name: str, value: Any) -> Pipeline:
        """Write a variable of this pipeline object, now."""
        self.variables[name] = value
        return self

    def change_variable(self, name: str, value: Any, mode: str) -> None:
        """Write into a variable, now; see `update_variable`."""
        self.variables.change(name, value, mode)

    def has_variable(self, name: str) -> bool:
        """Say whether there is a variable of that name."""
        return name in self.variables

    def delete_variable(self, name: str) -> Pipeline:
        """Delete a variable of this pipeline object, now."""
        del self.variables[name]
        return self

    def lock(self, name: str) -> AbstractContextManager[Any]:
        """Give the lock of that name, made at the first call."""
        return self._live.locks.get(name)

    @property
    def locks(self) -> Locks:
        """The locks of this pipeline object."""
        return self._live.locks

    # Models.

    def init_model(
        self, model: str | ModelMethod, config: Mapping[str, Any] | None = None
    ) -> Pipeline:
        """Declare a model: a static one is built now, and shared by all pipelines made from here.

        Args:
          model: the model method, or its exact name. A template looks for the name among all
            batch classes that exist.
          config: for the model, over what the pipeline's config has under its name.

        Raises:
          ParamsError: there is no such model, or several.
        """
        method = find_model(self.batch_class, model)
        if method is None:
            known = models_of(self.batch_class)
            raise ParamsError(
                f"init_model: there is no model method '{model}'.{nearest(str(model), known)} "
                f"There are: {', '.join(known) or 'none'}."
            )
        name = method.name
        made = self._with(_model_configs={**self._model_configs, name: dict(config or {})})
        if method.mode == "static":
            built = Static(method.build(made, made.model_config(name)))
            made._models = {**self._models, name: built}
        return made

    def import_model(
        self,
        name: str,
        source: Pipeline | str | os.PathLike[str],
        *,
        definition: Any = None,
        params: Mapping[str, Any] | None = None,
    ) -> Pipeline:
        """Take a model of another pipeline, or of a run, when it is asked for.

        Args:
          name: of the model, here and in the other pipeline; it goes before one of the batch
            class.
          source: the pipeline that has it, or will have it by then: it is the very same object.
            Or the model_dir of a run: its program is made, with its newest good checkpoint, for
            each pipeline object.
          definition: of the run's model, whatever `dovetail.load` takes; nothing that lies in a
            model_dir is executed.
          params: over those that the run recorded.
        """
        if isinstance(source, (str, os.PathLike)):
            if definition is None:
                raise ParamsError(
                    f"import_model('{name}', '{os.fspath(source)}'): give the definition too, as "
                    f"in import_model('{name}', '{os.fspath(source)}', definition='model.py'). A "
                    "model_dir holds parameters, and a copy of the code for reading: it is not "
                    "executed."
                )
            made = Stored(os.fspath(source), definition, dict(params) if params else None)
            return self._with(_models={**self._models, name: made})
        if definition is not None or params is not None:
            raise ParamsError(
                f"import_model('{name}', source): definition and params are for a model_dir; from "
                "a pipeline the model comes as it is."
            )
        if not isinstance(source, Pipeline):
            raise ParamsError(
                f"import_model('{name}', source): source is a pipeline or the path of a "
                f"model_dir; got {source!r}."
            )
        return self._with(_models={**self._models, name: Imported(source)})

    @property
    def models(self) -> Models:
        """The models of this pipeline object."""
        live = self._live
        with live.lock:
            if live.models is None:
                live.models = Models(self._models)
            return live.models

    def get_model_by_name(self, name: str, batch: Any = None) -> Any:
        """Give a model's descriptor, by its exact name.

        Args:
          name: of the model.
          batch: that asks; without one, only a model that is there already is given.
        """
        if batch is not None:
            return self.models.get(name, batch, self)
        try:
            return self.models.existing(name, self.batch_class)
        except KeyError:
            have = ", ".join(self.models.names()) or "none"
            raise ParamsError(
                f"The pipeline has no model '{name}' yet; it has: {have}."
                f"{nearest(name, self.models.names())} A dynamic model is built when the "
                "pipeline is run and an action asks for it."
            ) from None

    def model_for(self, batch: Any, wanted: str | ModelMethod) -> Any:
        """Give the model that an action wants, building it if that is due."""
        return self.models.get(wanted, batch, self)

    def model_config(self, name: str) -> dict[str, Any]:
        """Give a model's config: the pipeline's under its name, overlaid by `init_model`'s."""
        own = self.config.get(name)
        return _overlaid(own if isinstance(own, Mapping) else {}, self._model_configs.get(name, {}))

    # Running.

    def run(self, batch_size: int | None = None, *, bar: bool = False, **options: Any) -> Pipeline:
        """Do the steps to all batches, and return this pipeline.

        Args:
          batch_size: items a batch.
          bar: whether to show the progress.
          options: `shuffle`, `n_epochs`, `n_iters`, `drop_last`, `seed` (see `Walk`), `prefetch`
            and `target`; with `lazy=True` nothing is run: a pipeline is returned that is run so
            when `run`, `gen_batch` or `next_batch` is called without arguments.
        """
        if options.pop("lazy", False):
            return self._with(_lazy=self._pass(batch_size, options))
        for _ in self.gen_batch(batch_size, bar=bar, **options):
            pass
        return self

    def gen_batch(
        self, batch_size: int | None = None, *, bar: bool = False, **options: Any
    ) -> Iterator[Batch]:
        """Give an iterator over the batches, the steps done; the arguments are those of `run`."""
        how = self._pass(batch_size, options)
        flow = Flow(self, how)
        return _given(flow, bar)

    def next_batch(self, batch_size: int | None = None, **options: Any) -> Batch:
        """Give the next batch; the arguments are those of `run`, the same at each call.

        Without `n_epochs` there is no end; else StopIteration is raised at it.
        """
        live = self._live
        if live.flow is None:
            if self._lazy is None:
                options = {"n_epochs": None, **options}
            live.flow = Flow(self, self._pass(batch_size, options))
        else:
            begun = live.flow.how
            asked = options if batch_size is None else {"batch_size": batch_size, **options}
            for name, value in asked.items():
                if getattr(begun, name, value) is not value and getattr(begun, name) != value:
                    raise ParamsError(
                        f"next_batch was begun with {name}={getattr(begun, name)!r}, and asks for "
                        f"{value!r} now. Call reset('iter') to begin anew."
                    )
        return next(live.flow)

    def reset(self, *what: str) -> Pipeline:
        """Forget what running left.

        Args:
          what: "iter" (where `next_batch` stands), "variables", "models"; none of them: all.
        """
        known = ("iter", "variables", "models")
        for one in what:
            if one not in known:
                raise ParamsError(
                    f"reset: '{one}' is none of {', '.join(known)}.{nearest(str(one), known)}"
                )
        live = self._live
        if not what or "iter" in what:
            if live.flow is not None:
                live.flow.close()
            live.flow = None
        if not what or "variables" in what:
            live.variables = None
        if not what or "models" in what:
            live.kept.clear()
            if live.models is not None:
                live.models.reset()
        return self

    @property
    def lazy_pass(self) -> Pass | None:
        """How the pipeline is run where that was said with `run(..., lazy=True)`."""
        return self._lazy

    def feed(
        self,
        features: Any = None,
        labels: Any = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> Feeding:
        """Say what a run is fed with; an `input_fn` returns it, or `Estimator.train` takes it.

        Args:
          features: the name of a component, a named value, a function of the batch, or a dict of
            these; a list of names gives a dict. None: all components but the labels.
          labels: likewise. None: there are none; or, if `features` are not given either, the
            components named "label" or "labels".
          batch_size, options: as for `run`. What was said with `run(..., lazy=True)` holds where
            nothing is said here. Where nothing was said at all the run decides, as it does for
            records: its batch size, its number of epochs, in an order of its own when it trains.

        >>> import numpy as np
        >>> from dovetail.data.dataset import Dataset
        >>> data = {"x": np.arange(4), "y": np.arange(4) % 2}
        >>> fed = Dataset(4, preloaded=data).p.feed({"x": "x"}, "y", batch_size=3)
        >>> [labels.tolist() for features, labels in fed]
        [[0, 1, 0], [1]]
        """
        from dovetail.data.feeding import Feeding  # it knows torch

        if batch_size is not None:
            options["batch_size"] = batch_size
        known = list(Pass.__dataclass_fields__)
        for name in options:
            if name not in known:
                raise ParamsError(
                    f"A pipeline is not run with '{name}'.{nearest(name, known)} Its options are "
                    f"{', '.join(known)}."
                )
        return Feeding(self, features, labels, options)

    def pass_beside(self, main: Pass) -> Pass:
        """Give how this pipeline is run where another one takes its batches."""
        return self._lazy or replace(main, n_epochs=None, n_iters=None, prefetch=0)

    def _pass(self, batch_size: int | None, options: Mapping[str, Any]) -> Pass:
        known = [name for name in Pass.__dataclass_fields__ if name != "batch_size"]
        for name in options:
            if name not in known:
                raise ParamsError(
                    f"A pipeline is not run with '{name}'.{nearest(name, known)} Its options are "
                    f"{', '.join(known)}."
                )
        if self._lazy is not None:
            size = {} if batch_size is None else {"batch_size": batch_size}
            return replace(self._lazy, **size, **options)
        if batch_size is None:
            raise ParamsError("How many items a batch? Give batch_size, as in run(64, n_epochs=1).")
        return Pass(batch_size, **options)

    # Models that are programs.

    @property
    def kept(self) -> dict[tuple[str, ...], Any]:
        """What the ready model actions keep from batch to batch, in this pipeline object."""
        return self._live.kept

    def forget_metrics(self) -> None:
        """Have `metrics` begin anew, as each run does."""
        for key in [key for key in self.kept if key[0] == "metrics"]:
            del self.kept[key]

    def metrics(self, name: str) -> dict[str, Any]:
        """Give what `evaluate_model` measured over all batches since the run began.

        Args:
          name: of the model.

        Returns:
          metric -> value, with `loss`; exact for batches of any sizes.

        Raises:
          ParamsError: the model was not evaluated.
        """
        found = self.kept.get(("metrics", name))
        if found is None:
            known = [key[1] for key in self.kept if key[0] == "metrics"]
            raise ParamsError(
                f"The model '{name}' was not evaluated in this pipeline.{nearest(name, known)} Add "
                f".evaluate_model('{name}', ...) to it, and run it."
            )
        return found.compute()

    # Looking at it.

    @property
    def timings_kept(self) -> Timings:
        """Where running counts how long each step took."""
        return self._live.timings

    def timings(self) -> list[dict[str, Any]]:
        """List for each step how often it was done here, and how many seconds that took in all."""
        from dovetail.data.pipeline_description import timed

        return timed(self.steps, self.timings_kept)

    def describe(self) -> str:
        """Give a readable table of the pipeline: its data, its steps, variables and models."""
        from dovetail.data.pipeline_description import described

        return described(self, self._declared, self._models)

    def __repr__(self) -> str:
        over = repr(self.dataset) if self.dataset is not None else "no data set"
        count = len(self.steps)
        return f"Pipeline({over}, {count} step{'s' * (count != 1)})"


class _Live:
    """What a pipeline object gathers while it runs; one made from it begins without."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.locks = Locks()
        self.variables: Variables | None = None
        self.models: Models | None = None
        self.flow: Flow | None = None
        self.timings = Timings()
        self.kept: dict[tuple[str, ...], Any] = {}


def _given(flow: Flow, bar: bool) -> Iterator[Batch]:
    with flow:
        if bar:
            from rich.progress import track

            yield from track(flow, "Batches", total=counted(flow))
        else:
            yield from flow


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


def _overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put one config over another, nested ones too.

    >>> _overlaid({"net": {"width": 3, "depth": 2}}, {"net": {"width": 5}})
    {'net': {'width': 5, 'depth': 2}}
    """
    made = dict(base)
    for key, value in over.items():
        held = made.get(key)
        both = isinstance(held, Mapping) and isinstance(value, Mapping)
        made[key] = _overlaid(cast(Mapping[str, Any], held), value) if both else value
    return made


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

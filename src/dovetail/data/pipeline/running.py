"""The methods of a pipeline that run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

from dovetail.data.pipeline.flow import Flow, Pass, counted
from dovetail.data.pipeline.parts import PipelineParts
from dovetail.errors import DataError, ParamsError, nearest

if TYPE_CHECKING:
    from dovetail.data.batches.batch import Batch
    from dovetail.data.pipeline.feeding import Feeding
    from dovetail.data.pipeline.pipeline import Pipeline


class RunningOfPipeline(PipelineParts):
    """Running: all at once, batch by batch, or as the input of something else."""

    def run(self, batch_size: int | None = None, *, bar: bool = False, **options: Any) -> Self:
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
        flow = Flow(cast("Pipeline", self), how)
        return _given(flow, bar)

    def next_batch(self, batch_size: int | None = None, **options: Any) -> Batch:
        """Give the next batch; the arguments are those of `run`, the same at each call.

        Without `n_epochs` there is no end; else StopIteration is raised at it.
        """
        live = self._live
        if live.flow is None:
            if self._lazy is None:
                options = {"n_epochs": None, **options}
            live.flow = Flow(cast("Pipeline", self), self._pass(batch_size, options))
        elif live.flow.failed is not None:
            raise DataError(
                f"The last next_batch ended with an error ({live.flow.failed!r}). Call "
                "reset('iter') to begin anew."
            )
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

    def reset(self, *what: str) -> Self:
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
        >>> from dovetail.data.datasets.dataset import Dataset
        >>> data = {"x": np.arange(4), "y": np.arange(4) % 2}
        >>> fed = Dataset(4, preloaded=data).p.feed({"x": "x"}, "y", batch_size=3)
        >>> [labels.tolist() for features, labels in fed]
        [[0, 1, 0], [1]]
        """
        from dovetail.data.pipeline.feeding import Feeding  # it knows torch

        if batch_size is not None:
            options["batch_size"] = batch_size
        known = list(Pass.__dataclass_fields__)
        for name in options:
            if name not in known:
                raise ParamsError(
                    f"A pipeline is not run with '{name}'.{nearest(name, known)} Its options are "
                    f"{', '.join(known)}."
                )
        return Feeding(cast("Pipeline", self), features, labels, options)

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


def _given(flow: Flow, bar: bool) -> Iterator[Batch]:
    with flow:
        if bar:
            from rich.console import Console
            from rich.progress import track

            shown = Console(stderr=True)
            yield from track(flow, "Batches", total=counted(flow), console=shown)
        else:
            yield from flow

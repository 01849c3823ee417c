"""The actions on models that every batch has, for descriptors that are programs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dovetail.data.batches.actions import action
from dovetail.data.batches.chosen import pair
from dovetail.data.pipeline.saved import save
from dovetail.data.pipeline.steppable import steppable
from dovetail.errors import DataError, ParamsError

if TYPE_CHECKING:
    from dovetail.data.batches.batch import Batch


class ModelActions:
    """What every batch can do with models that fit `Steppable`; a base of `Batch`.

    A batch class's own action of the same name takes the place of one of these.
    """

    @action(in_order=True)
    def train_model(
        self, name: str, features: Any = None, labels: Any = None, *, save_to: Any = None
    ) -> Self:
        """Take a training step on the batch.

        Args:
          name: of the model.
          features, labels: names of components, named values or functions of the batch, or dicts
            of them, as for `Pipeline.feed`.
          save_to: where the loss goes: a component or a `Variable`, such as
            `Variable("losses", "append")`. Or a dict of such by "loss", "predictions", "metrics"
            (of this batch), or the name of a prediction. What is saved is waited for.

        Raises:
          DefinitionError: the model has no such step.
        """
        batch, program = _with_model(self, name, "train_step")
        given = pair(features, labels, batch, batch.pipeline)
        results = _results(program.train_step(*given), "loss")
        if isinstance(save_to, Mapping) and "metrics" in save_to:
            evaluation = _pipelines("evaluation").Evaluation("train")
            evaluation.update(program, results, len(batch))
            results["metrics"] = evaluation.compute()
        save(results, save_to, batch, main="loss", action=f"train_model('{name}')")
        return self

    @action(in_order=True)
    def evaluate_model(
        self, name: str, features: Any = None, labels: Any = None, *, save_to: Any = None
    ) -> Self:
        """Evaluate on the batch: `pipeline.metrics(name)` is of all batches of the run so far.

        Args:
          name, features, labels: as for `train_model`.
          save_to: likewise; "metrics" are those of all batches so far.

        Raises:
          DefinitionError: the model has no such step.
        """
        batch, program = _with_model(self, name, "eval_step")
        given = pair(features, labels, batch, batch.pipeline)
        results = _results(program.eval_step(*given), "loss")
        kept, key = batch.pipeline.kept, ("metrics", name)
        if key not in kept:
            kept[key] = _pipelines("evaluation").Evaluation("eval")
        kept[key].update(program, results, len(batch))
        if isinstance(save_to, Mapping) and "metrics" in save_to:
            results["metrics"] = kept[key].compute()
        save(results, save_to, batch, main="loss", action=f"evaluate_model('{name}')")
        return self

    @action(in_order=True)
    def predict_model(self, name: str, features: Any = None, *, save_to: Any = None) -> Self:
        """Predict for the batch.

        Args:
          name, features: as for `train_model`.
          save_to: where the predictions go: a component or a variable for the only one (or the
            dict of all); or a dict of such by the names of predictions.

        Raises:
          DefinitionError: the model has no such step.
        """
        batch, program = _with_model(self, name, "predict_step")
        given, _ = pair(features, None, batch, batch.pipeline, labelled=False)
        results = _results(program.predict_step(given), "predictions")
        save(results, save_to, batch, main="predictions", action=f"predict_model('{name}')")
        return self

    @action(in_order=True)
    def save_model(self, name: str, path: str | Path, *, every: int = 1) -> Self:
        """Save a model, whole, in the place of what was saved there before.

        Args:
          name: of the model, a Dovetail program.
          path: of a folder, with the layout of a model_dir; it is made.
          every: at each batch, or at each so-many-th.

        Raises:
          DataError: the folder is that of a run.
          DefinitionError: the model is no program.
        """
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ParamsError(f"save_model: every is a number of batches, 1 or more; got {every!r}")
        batch, program = _with_model(self, name, "train_step")
        if (batch.iteration + 1) % every == 0:
            _pipelines("stored").save(program, path)
        return self

    @action(in_order=True)
    def load_model(self, name: str, path: str | Path, *, weights_only: bool = False) -> Self:
        """Give a model what was saved, at the first batch of this pipeline object.

        Args:
          name: of the model, a Dovetail program.
          path: of a folder that `save_model` wrote, a run's model_dir, or one checkpoint.
          weights_only: leave its optimizer as it is.

        Raises:
          CheckpointError: there is none, or it is of another definition.
          DefinitionError: the model is no program.
        """
        batch, program = _with_model(self, name, "train_step")
        key = ("loaded", name, str(path))
        if batch.pipeline.kept.get(key) is not program:
            _pipelines("stored").load(program, path, weights_only=weights_only)
            batch.pipeline.kept[key] = program
        return self


def _with_model(actions: Any, name: str, step: str) -> tuple[Batch, Any]:
    """Give the batch that has the actions, and the model, which must have a step."""
    if actions.pipeline is None:
        raise DataError(
            f"This batch belongs to no pipeline, so there is no model '{name}' to be had."
        )
    return actions, steppable(actions.get_model_by_name(name), name, step)


def _results(output: Any, main: str) -> dict[str, Any]:
    return dict(output) if isinstance(output, Mapping) else {main: output}


def _pipelines(module: str) -> Any:
    """Give a module of what knows programs, which stands above: only who has one needs it."""
    return importlib.import_module(f"dovetail.pipelines.{module}")

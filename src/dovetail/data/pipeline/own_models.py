"""The methods of a pipeline on the models that live in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from dovetail.data.pipeline.model_methods import ModelMethod, find_model, models_of
from dovetail.data.pipeline.models import Imported, Models, Static, Stored
from dovetail.data.pipeline.parts import PipelineParts, overlaid
from dovetail.errors import ParamsError, nearest

if TYPE_CHECKING:
    from dovetail.data.pipeline.pipeline import Pipeline


class ModelsOfPipeline(PipelineParts):
    """Models: declared, imported, built when that is due, measured."""

    def init_model(self, model: str | ModelMethod, config: Mapping[str, Any] | None = None) -> Self:
        """Declare a model: a static one is built now, and shared by all pipelines made from here.

        Args:
          model: the model method, or its exact name. A template looks for the name among all
            batch classes that exist.
          config: for the model, over what the pipeline's config has under its name.

        Raises:
          ParamsError: there is no such model, or several.
        """
        if config is not None and not isinstance(config, Mapping):
            raise ParamsError(f"init_model('{model}', config): config is a dict; got {config!r}.")
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
    ) -> Self:
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
        if not isinstance(source, ModelsOfPipeline):
            raise ParamsError(
                f"import_model('{name}', source): source is a pipeline or the path of a "
                f"model_dir; got {source!r}."
            )
        return self._with(_models={**self._models, name: Imported(cast("Pipeline", source))})

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
        return overlaid(own if isinstance(own, Mapping) else {}, self._model_configs.get(name, {}))

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

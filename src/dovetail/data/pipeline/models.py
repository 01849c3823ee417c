"""The models that live in one pipeline: which there are, and the one building of each."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dovetail.data.batches.actions import SkipBatch
from dovetail.data.pipeline.model_methods import ModelMethod, find_model, models_of
from dovetail.errors import ParamsError, nearest

if TYPE_CHECKING:
    from dovetail.data.pipeline.pipeline import Pipeline


@dataclass(frozen=True, eq=False)
class Static:
    """A static model: built where it was declared, shared by all pipelines made from there."""

    descriptor: Any


@dataclass(frozen=True)
class Imported:
    """A model of another pipeline, looked up there when it is first asked for."""

    source: Pipeline  # compared by identity, as pipelines are


@dataclass(frozen=True)
class Stored:
    """A model of a run that was trained, made in each pipeline object when it is first asked for.

    Attributes:
      model_dir: of the run.
      definition: whatever `dovetail.load` takes.
      params: over those of the run.
    """

    model_dir: str
    definition: Any
    params: Mapping[str, Any] | None = None

    def made(self) -> Any:
        """Make the program."""
        # What knows programs stands above: only who has one needs it.
        stored = importlib.import_module("dovetail.pipelines.stored")
        return stored.program_of(self.model_dir, self.definition, self.params)


DeclaredModel = Static | Imported | Stored


class Configured(Protocol):
    """What knows the config of each model: a pipeline."""

    def model_config(self, name: str) -> dict[str, Any]: ...


class Models:
    """The models of one pipeline object.

    Args:
      declared: what `init_model` and `import_model` said, by name.
    """

    def __init__(self, declared: Mapping[str, DeclaredModel]) -> None:
        self._declared = dict(declared)
        self._built: dict[str, Any] = {}
        self._being_built: set[str] = set()
        self._lock = threading.RLock()  # one for all, so that models may ask for one another

    def get(self, wanted: str | ModelMethod, batch: Any, pipeline: Configured) -> Any:
        """Give the descriptor, building a dynamic model at the first call.

        Args:
          wanted: the exact name, or the model method itself.
          batch: that asks.
          pipeline: that these are the models of.

        Raises:
          ParamsError: there is no such model, or it is not there yet.
        """
        name = wanted.name if isinstance(wanted, ModelMethod) else wanted
        if name in self._built:
            return self._built[name]
        declared = self._declared.get(name)
        if isinstance(declared, Static):
            return declared.descriptor
        if isinstance(declared, Stored):
            return self._stored(name, declared)
        if isinstance(declared, Imported):
            self._built[name] = found = _imported(name, declared.source)
            return found
        method = find_model(type(batch), wanted)
        if method is None:
            raise ParamsError(_unknown(name, type(batch), self._declared))
        if method.mode == "global":
            return method.descriptor
        if method.mode == "static":
            raise ParamsError(
                f"'{name}' is a static model of {type(batch).__name__}, and this pipeline has not "
                f"declared it. Add .init_model('{name}') before it is run."
            )
        return self._build(name, method, batch, pipeline)

    def _build(self, name: str, method: ModelMethod, batch: Any, pipeline: Configured) -> Any:
        with self._lock:  # whoever asks meanwhile waits, and finds it built
            if name in self._built:
                return self._built[name]
            if name in self._being_built:
                raise ParamsError(f"The model '{name}' asks for itself while it is built.")
            self._being_built.add(name)
            try:
                built = method.build(batch, pipeline.model_config(name))
            except SkipBatch:
                raise ParamsError(
                    f"SkipBatch was raised while the model '{name}' was built. An action may skip "
                    "its batch; a model that can't be built would drop them all."
                ) from None
            finally:
                self._being_built.discard(name)
            self._built[name] = built
            return built

    def _stored(self, name: str, declared: Stored) -> Any:
        with self._lock:
            if name not in self._built:
                self._built[name] = declared.made()
            return self._built[name]

    def existing(self, name: str, batch_class: type | None) -> Any:
        """Give a model that is there already, without building any.

        Raises:
          KeyError: it is not.
        """
        if name in self._built:
            return self._built[name]
        declared = self._declared.get(name)
        if isinstance(declared, Static):
            return declared.descriptor
        if isinstance(declared, Stored):
            return self._stored(name, declared)
        if isinstance(declared, Imported):
            return _imported(name, declared.source)
        method = find_model(batch_class, name) if batch_class is not None else None
        if method is not None and method.mode == "global":
            return method.descriptor
        raise KeyError(name)

    def put(self, name: str, descriptor: Any) -> None:
        """Take a model that was made elsewhere, such as one loaded from disk."""
        self._built[name] = descriptor

    def names(self) -> list[str]:
        """List the models that are there."""
        return sorted({*self._built, *self._declared})

    def reset(self) -> None:
        """Drop what was built here; what was declared stays."""
        self._built.clear()


def _imported(name: str, source: Pipeline) -> Any:
    try:
        return source.models.existing(name, source.batch_class)
    except KeyError:
        method = find_model(source.batch_class, name) if source.batch_class is not None else None
        if method is None:
            have = ", ".join(source.models.names()) or "none"
            raise ParamsError(
                f"import_model('{name}'): the pipeline that it is to come from has no such model; "
                f"it has: {have}.{nearest(name, source.models.names())}"
            ) from None
        how = f"Add .init_model('{name}') to it." if method.mode == "static" else "Run it first."
        raise ParamsError(
            f"import_model('{name}'): the pipeline that it is to come from has not built it yet. "
            f"{how}"
        ) from None


def _unknown(name: str, batch_class: type, declared: Mapping[str, Any]) -> str:
    known = sorted({*models_of(batch_class), *declared})
    return (
        f"There is no model '{name}' in {batch_class.__name__} or the pipeline."
        f"{nearest(name, known)} There are: {', '.join(known) or 'none'}. Define one with @model, "
        "or import it with import_model."
    )

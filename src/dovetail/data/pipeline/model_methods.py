"""Methods of a batch class that define models, and when each is built."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, get_args, overload

from dovetail.errors import DefinitionError, ParamsError, nearest

Mode = Literal["global", "static", "dynamic"]

# (module, qualified name of the class, name of the method) -> the class that last had it so
_classes: dict[tuple[str, str, str], weakref.ref[type]] = {}


class ModelMethod:
    """What `@model` makes of a method: a definition of a model, never called by the user.

    Attributes:
      name: of the method, and so of the model.
      mode: when it is built: "global", "static" or "dynamic".
      descriptor: what a global model's method returned.
    """

    def __init__(self, function: Callable[..., Any], mode: Mode) -> None:
        self.name: str = getattr(function, "__name__", "model")
        self.mode = mode
        self.function = function
        self.__doc__ = function.__doc__
        self.owner: weakref.ref[type] | None = None
        self._takes, self._config_by_name = _taken(function, mode)
        # A global model is built while the body of its class runs.
        self.descriptor: Any = function() if mode == "global" else None

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.owner = name, weakref.ref(owner)
        _classes[(owner.__module__, owner.__qualname__, name)] = self.owner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise DefinitionError(
            f"The model method '{self.name}' was called. Models are built for you: name it in "
            f"@action(model='{self.name}'), or ask batch.get_model_by_name('{self.name}')."
        )

    def __repr__(self) -> str:
        owner = self.owner() if self.owner is not None else None
        home = f"{owner.__qualname__}." if owner is not None else ""
        return f"<{self.mode} model {home}{self.name}>"

    def build(self, holder: Any, config: Mapping[str, Any]) -> Any:
        """Call the method, with as many of (holder, config) as it declares.

        Args:
          holder: the pipeline of a static model, the batch of a dynamic one.
          config: what the pipeline says of the model; a copy, so that it may be written to.
        """
        named = {"config": dict(config)} if self._config_by_name else {}
        return self.function(*(holder, dict(config))[: self._takes], **named)


@overload
def model(method: Callable[..., Any]) -> ModelMethod: ...
@overload
def model(*, mode: Mode = "dynamic") -> Callable[[Callable[..., Any]], ModelMethod]: ...


def model(method: Any = None, *, mode: Mode = "dynamic") -> Any:
    """Mark a method of a batch class as the definition of a model; it returns the descriptor.

    A descriptor may be anything: a module, a dict, a `dovetail.build(...)` program. Actions get
    it by `@action(model="name")`.

    Args:
      method: when used bare: a dynamic model.
      mode: "global": built once, when the class is made; the method takes nothing. "static":
        built where a pipeline says `init_model(name)`; it gets (pipeline, config), or fewer.
        "dynamic": built when an action first asks for it, once for each pipeline; it gets
        (batch, config), or fewer.

    Raises:
      DefinitionError: mode is none of these, or the method takes what nobody gives.

    >>> class Numbers:
    ...     @model(mode="global")
    ...     def scale():
    ...         return {"factor": 2}
    >>> Numbers.scale, Numbers.scale.descriptor
    (<global model Numbers.scale>, {'factor': 2})
    """
    if mode not in get_args(Mode):
        raise DefinitionError(
            f"@model(mode={mode!r}): mode is 'global', 'static' or 'dynamic'."
            f"{nearest(str(mode), get_args(Mode))}"
        )
    if method is None:
        return lambda method: ModelMethod(_checked(method), mode)
    return ModelMethod(_checked(method), mode)


def find_model(batch_class: type | None, wanted: str | ModelMethod) -> ModelMethod | None:
    """Give the model method of that exact name; None if the class has none.

    Args:
      batch_class: where to look; None: among all batch classes that exist.
      wanted: a name, or the method itself.

    Raises:
      ParamsError: no class is given and two have a model of that name.
    """
    if isinstance(wanted, ModelMethod):
        return wanted
    if batch_class is not None:
        found = inspect.getattr_static(batch_class, wanted, None)
        return found if isinstance(found, ModelMethod) else None
    living = [cls for (_, _, name), ref in _classes.items() if name == wanted and (cls := ref())]
    methods = {id(m): m for cls in living if (m := find_model(cls, wanted)) is not None}
    if len(methods) > 1:
        names = " and ".join(f"{c.__module__}.{c.__qualname__}" for c in living)
        raise ParamsError(
            f"Several batch classes have a model '{wanted}': {names}. Give the method itself, as "
            f"in init_model({living[0].__name__}.{wanted}), or bind the pipeline to a dataset."
        )
    return next(iter(methods.values()), None)


def models_of(batch_class: type | None) -> list[str]:
    """List the names of the models of a batch class; of all that exist if none is given."""
    if batch_class is None:
        return sorted({name for (_, _, name), ref in _classes.items() if ref() is not None})
    names = {name for base in batch_class.__mro__ for name in vars(base)}
    return sorted(name for name in names if find_model(batch_class, name) is not None)


def _checked(method: Any) -> Callable[..., Any]:
    if isinstance(method, (staticmethod, classmethod)):
        method = method.__func__
    if not inspect.isfunction(method):
        raise DefinitionError(
            f"@model marks methods of a batch class; it was used on {type(method).__name__} "
            f'{method!r}. Its argument is given by keyword: @model(mode="static").'
        )
    return cast(Callable[..., Any], method)


def _taken(function: Callable[..., Any], mode: Mode) -> tuple[int, bool]:
    """Return how many arguments go by position, and whether config goes by name."""
    kinds = inspect.Parameter
    parameters = list(inspect.signature(function).parameters.values())
    offered = 0 if mode == "global" else 2
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p.name for p in positional[offered:] if p.default is kinds.empty]
    by_name = [p for p in parameters if p.kind is kinds.KEYWORD_ONLY]
    needed += [
        p.name for p in by_name if p.default is kinds.empty and (p.name != "config" or not offered)
    ]
    if needed:
        what = {
            "global": "takes nothing: it is built when its class is made",
            "static": "gets (pipeline, config), or fewer",
            "dynamic": "gets (batch, config), or fewer",
        }[mode]
        code = function.__code__
        raise DefinitionError(
            f"{code.co_filename}:{code.co_firstlineno}: the {mode} model '{function.__name__}' "
            f"wants {', '.join(map(repr, needed))}, which nobody gives it: it {what}."
        )
    if any(p.kind is kinds.VAR_POSITIONAL for p in parameters):
        return offered, False
    config_by_name = bool(offered) and any(p.name == "config" for p in by_name)
    return min(len(positional), offered), config_by_name

"""Values that an action is given by name, looked up when the action runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from dovetail.data.batches.batch_random import batch_generator
from dovetail.data.pipeline.variables import checked_mode
from dovetail.errors import ParamsError, nearest


class Held(Protocol):
    """What named values need of a pipeline."""

    @property
    def config(self) -> Mapping[str, Any]: ...

    def get_variable(self, name: str) -> Any: ...

    def change_variable(self, name: str, value: Any, mode: str) -> None: ...


class Named:
    """A value that is looked up for each batch: one of the classes of this file."""

    def get(self, batch: Any, pipeline: Held) -> Any:
        """Give the value for a batch that is in an action of a pipeline."""
        raise NotImplementedError

    def set(self, batch: Any, pipeline: Held, value: Any) -> None:
        """Write the value, for what an action saves."""
        raise ParamsError(
            f"Nothing can be saved to {self!r}: it is only read. Save to a Component or Variable."
        )


@dataclass(frozen=True)
class Component(Named):
    """A component of the batch, such as its images; or, without a name, the batch itself.

    >>> Component("images")
    Component(name='images')
    """

    name: str | None = None

    def get(self, batch: Any, pipeline: Held) -> Any:
        return batch if self.name is None else getattr(batch, self.name)

    def set(self, batch: Any, pipeline: Held, value: Any) -> None:
        if self.name is None:
            super().set(batch, pipeline, value)
        else:
            batch.set_component(self.name, value)


@dataclass(frozen=True)
class Variable(Named):
    """A variable of the pipeline.

    Args:
      name: of it.
      mode: how it is written, see `Pipeline.update_variable`: "append" makes a list of what an
        action saves batch by batch.
    """

    name: str
    mode: str = field(default="set", repr=False)

    def __post_init__(self) -> None:
        checked_mode(self.mode)

    def get(self, batch: Any, pipeline: Held) -> Any:
        return pipeline.get_variable(self.name)

    def set(self, batch: Any, pipeline: Held, value: Any) -> None:
        pipeline.change_variable(self.name, value, self.mode)


@dataclass(frozen=True)
class Config(Named):
    """An entry of the pipeline's config; a dotted name goes into nested ones.

    Args:
      name: such as "size", or "net.width".
      default: where the config has none; left out, that is an error.
    """

    name: str
    default: Any = ...

    def get(self, batch: Any, pipeline: Held) -> Any:
        value: Any = pipeline.config
        for key in self.name.split("."):
            if not isinstance(value, Mapping) or key not in value:
                if self.default is not ...:
                    return self.default
                known = ", ".join(map(str, value)) if isinstance(value, Mapping) else "no entries"
                hint = nearest(key, value) if isinstance(value, Mapping) else ""
                raise ParamsError(
                    f"The pipeline's config has no '{self.name}'.{hint} There it has: "
                    f"{known or 'nothing'}."
                )
            value = value[key]
        return value


@dataclass(frozen=True)
class Function(Named):
    """What a function gives for the batch.

    Args:
      function: called with the batch, and the arguments here, which may be named values too.
      args: further arguments.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        if not callable(function):
            raise ParamsError(f"Function takes a function of the batch; got {function!r}.")
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "args", args)

    def get(self, batch: Any, pipeline: Held) -> Any:
        return self.function(batch, *(resolved(one, batch, pipeline) for one in self.args))


@dataclass(frozen=True)
class Random(Named):
    """A random number for the batch, of its seed and number alone: the same whoever runs it.

    Args:
      distribution: the name of a method of NumPy's Generator, such as "uniform" or "integers".
      args: its arguments.
      size: how many; None: one number; "items": one for each item of the batch.
      salt: tells two random values of one batch apart.

    >>> Random("uniform", (-30, 30)).distribution
    'uniform'
    """

    distribution: str = "uniform"
    args: tuple[Any, ...] = ()
    size: int | tuple[int, ...] | str | None = None
    salt: int = 0

    def __post_init__(self) -> None:
        known = [name for name in dir(np.random.Generator) if not name.startswith("_")]
        if self.distribution not in known:
            raise ParamsError(
                f"Random: NumPy's Generator has no '{self.distribution}'."
                f"{nearest(self.distribution, known)}"
            )
        if isinstance(self.size, str) and self.size != "items":
            raise ParamsError(f'Random: size is a number, a tuple or "items"; got {self.size!r}.')

    def get(self, batch: Any, pipeline: Held) -> Any:
        size = len(batch) if self.size == "items" else self.size
        generator = batch_generator(batch.seed, batch.iteration, self.salt)
        return getattr(generator, self.distribution)(*self.args, size=size)


def resolved(value: Any, batch: Any, pipeline: Held) -> Any:
    """Give a value as an action is to get it: what is named in it, in lists and dicts too, found.

    >>> resolved([1, {"k": 2}], None, None)  # there is nothing named in it
    [1, {'k': 2}]
    """
    if isinstance(value, Named):
        return value.get(batch, pipeline)
    if isinstance(value, (list, tuple)) and any(map(has_named, value)):
        found = [resolved(one, batch, pipeline) for one in value]
        make = getattr(type(value), "_make", type(value))  # a named tuple takes its values apart
        return make(found)
    if isinstance(value, dict) and any(map(has_named, value.values())):
        return {key: resolved(one, batch, pipeline) for key, one in value.items()}
    return value


def has_named(value: Any) -> bool:
    """Whether anything in a value is to be looked up.

    >>> has_named({"size": [Config("size")]}), has_named([1, 2])
    (True, False)
    """
    if isinstance(value, Named):
        return True
    if isinstance(value, (list, tuple)):
        return any(map(has_named, value))
    return isinstance(value, dict) and any(map(has_named, value.values()))

"""Functions of the user, their arguments matched by name before anything runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dovetail.errors import DefinitionError, a_kind, nearest


def where(function: Any) -> str:
    """Return `name (file:line)` of a function or class, as far as it can be known."""
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    target = inspect.unwrap(function) if callable(function) else function
    code = getattr(target, "__code__", None)
    if code is None and isinstance(target, type):
        code = getattr(getattr(target, "__init__", None), "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return f"{name or type(function).__name__}{place}"


class Matched:
    """A function that is called with as many of the offered arguments as it declares.

    Args:
      function: the user's function.
      offered: the names that can be passed, in order.
      required: the offered names that the function must declare.
      positional: how many of the first offered names may go under any name of the user's own,
        by position (page 4's `loss(output, labels)` may be `loss(logits, targets)`).
      what: the function's role, for messages.

    Attributes:
      defaults: keyword parameters that are not offered, with their defaults; they can be set.

    Raises:
      DefinitionError: the function can't be called with what is offered.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        offered: Sequence[str],
        *,
        required: Sequence[str] = (),
        positional: int = 0,
        what: str | None = None,
    ) -> None:
        what = what or str(getattr(function, "__name__", "function"))
        if not callable(function):
            shown = "" if function is None else f": {function!r}"
            raise DefinitionError(f"{what} must be a function; it is {a_kind(function)}{shown}.")
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # builtins without a signature
            parameters = None
        self.function = function
        self.offered = tuple(offered)
        self.defaults: dict[str, Any] = {}
        self.count = positional
        self.names: tuple[str, ...] = ()
        if parameters is None:
            return
        self.names, self.count, self.defaults = _match(
            function, parameters, self.offered, positional, what
        )
        passed = (*self.offered[: self.count], *self.names)
        for name in required:
            if name not in passed:
                raise DefinitionError(
                    f"{what}: {where(function)} does not take '{name}', which it needs. Expected "
                    f"{what}({', '.join(offered)}); it takes "
                    f"({', '.join(p.name for p in parameters)})."
                )

    def __call__(self, values: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> Any:
        """Call with `values` (all that is offered) and settings for its own keyword parameters.

        Of `settings` only what the function declares is passed: they are a section of params, in
        which it may find more by taking `params`.
        """
        args, kwargs = self.arguments(values, settings)
        return self.function(*args, **kwargs)

    def arguments(
        self, values: Mapping[str, Any], settings: Mapping[str, Any] | None = None
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return what a call passes by position and by name."""
        args = [values[name] for name in self.offered[: self.count]]
        kwargs = {name: values[name] for name in self.names}
        if self.defaults and settings:
            kwargs.update((name, settings[name]) for name in self.defaults if name in settings)
        return args, kwargs


def _match(
    function: Any,
    parameters: list[inspect.Parameter],
    offered: tuple[str, ...],
    positional: int,
    what: str,
) -> tuple[tuple[str, ...], int, dict[str, Any]]:
    by_position = 0
    names: list[str] = []
    defaults: dict[str, Any] = {}
    bound = function.keywords if isinstance(function, functools.partial) else ()
    for index, parameter in enumerate(parameters):
        if parameter.name in bound:
            continue  # the user's value stands
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            by_position = max(by_position, positional)
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            if isinstance(function, type):
                continue  # it goes to a base class, torch.nn.Module's that takes nothing
            names.extend(n for n in offered[by_position:] if n not in names)
        elif (
            index < positional
            and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
            and (
                parameter.name == offered[index]
                or (
                    # under a name of the user's own; with a default it is a setting instead
                    parameter.name not in offered
                    and by_position == index
                    and parameter.default is inspect.Parameter.empty
                )
            )
        ):
            by_position = index + 1
        elif parameter.name in offered:
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                raise DefinitionError(
                    f"{what}: {where(function)} takes '{parameter.name}' by position only; "
                    "Dovetail passes arguments by name. Remove the '/'."
                )
            names.append(parameter.name)
        elif parameter.default is not inspect.Parameter.empty:
            defaults[parameter.name] = parameter.default
        else:
            raise DefinitionError(
                f"{what}: {where(function)} wants an argument '{parameter.name}' that nobody gives "
                f"it.{nearest(parameter.name, offered)} It may take "
                f"{', '.join(offered) or 'nothing'}, and parameters with defaults."
            )
    return tuple(names), by_position, defaults

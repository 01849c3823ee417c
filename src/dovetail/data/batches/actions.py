"""Which methods of a batch class are actions: steps that a pipeline may be made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from dovetail.errors import DefinitionError, DovetailError, nearest

Method = TypeVar("Method", bound=Callable[..., Any])
_MARK = "__dovetail_action__"


class SkipBatch(Exception):
    """Raised by an action: a pipeline drops this batch and goes on with the next one."""


class UnknownActionError(DovetailError, AttributeError):
    """A batch class has no action of the name asked for."""


@dataclass(frozen=True)
class Action:
    """What `@action` says of a method.

    Attributes:
      model: the model that is given to the method as its first argument: the exact name of a
        model method, or that method itself; None: it takes no model.
      use_lock: the name of a lock of the pipeline, held while the method runs; True: one named
        after the action; None: no lock.
      in_order: whether batches come to it one after the other, in the main process, as they do to
        an action with a model; for one that asks for models by their names.
    """

    model: str | Callable[..., Any] | None = None
    use_lock: str | bool | None = None
    in_order: bool = field(default=False, repr=False)


@overload
def action(method: Method) -> Method: ...
@overload
def action(
    *,
    model: str | Callable[..., Any] | None = None,
    use_lock: str | bool | None = None,
    in_order: bool = False,
) -> Callable[[Method], Method]: ...


def action(
    method: Any = None,
    *,
    model: str | Callable[..., Any] | None = None,
    use_lock: str | bool | None = None,
    in_order: bool = False,
) -> Any:
    """Mark a method of a batch class as an action; bare, or with arguments.

    An action does something to its batch and returns a batch: itself, as a rule. The method stays
    what it was, and can be called as any other. Together with `@inbatch_parallel`, in either
    order, it marks the whole.

    Args:
      method: when used bare.
      model: see `Action`.
      use_lock, in_order: see `Action`.

    Raises:
      DefinitionError: if it is used on anything but a function, or an argument has a wrong type.

    >>> class Numbers:
    ...     @action
    ...     def double(self):
    ...         return self
    ...     @action(model="net", use_lock="net_lock")
    ...     def train(self, net):
    ...         return self
    >>> find_action(Numbers, "train")
    Action(model='net', use_lock='net_lock')
    """
    if method is None:
        _check_arguments(model, use_lock)
        return lambda method: _marked(method, Action(model, use_lock, in_order))
    return _marked(method, Action())


def find_action(batch_class: type, name: str) -> Action:
    """Give what is known of an action of a batch class, by its exact name.

    Args:
      batch_class: where to look; what it inherits counts.
      name: of the action.

    Raises:
      UnknownActionError: (an AttributeError) if there is no such method, with the nearest action,
        or if the method is no action.
    """
    method = inspect.getattr_static(batch_class, name, None)
    found = getattr(method, _MARK, None)
    if isinstance(found, Action):
        return found
    if method is None:
        known = sorted(actions_of(batch_class))
        said = nearest(name, known) or f" It has {', '.join(known) or 'none'}."
        raise UnknownActionError(f"{batch_class.__name__} has no action '{name}'.{said}")
    inherited = any(hasattr(vars(base).get(name), _MARK) for base in batch_class.__mro__)
    why = " It overrides an action without the mark." if inherited else ""
    raise UnknownActionError(
        f"'{name}' of {batch_class.__name__} is no action.{why} If it is to be a step of "
        "pipelines, mark the method with @action."
    )


def actions_of(batch_class: type) -> dict[str, Action]:
    """Give all actions of a batch class, inherited ones too: name -> what is known of it.

    >>> class Numbers:
    ...     @action
    ...     def double(self):
    ...         return self
    >>> actions_of(Numbers)
    {'double': Action(model=None, use_lock=None)}
    """
    found = {name: getattr(value, _MARK, None) for name, value in _members(batch_class).items()}
    return {name: mark for name, mark in found.items() if isinstance(mark, Action)}


def _members(batch_class: type) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for base in reversed(batch_class.__mro__):
        members.update(vars(base))
    return members


def _marked(method: Any, mark: Action) -> Any:
    if not inspect.isfunction(method):
        raise DefinitionError(
            "@action marks methods of a batch class; it was used on "
            f"{type(method).__name__} {method!r}. Its arguments, model and use_lock, are given "
            'by keyword: @action(model="net").'
        )
    setattr(method, _MARK, mark)
    return method


def _check_arguments(model: Any, use_lock: Any) -> None:
    if model is not None and not callable(model) and not isinstance(model, str):
        raise DefinitionError(
            f"@action(model=...) takes a model method or its exact name; got {model!r}."
        )
    if use_lock is not None and not isinstance(use_lock, str | bool):
        raise DefinitionError(
            f"@action(use_lock=...) takes the name of a lock, or True; got {use_lock!r}."
        )

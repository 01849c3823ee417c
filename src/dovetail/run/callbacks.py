"""The hooks that belong to a definition: what its `callbacks` function returns, as hooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dovetail.definition.definition import Definition
from dovetail.definition.hparams import HParams
from dovetail.definition.signature import where
from dovetail.errors import DefinitionError, ParamsError
from dovetail.run import keras_callbacks, modeler_callback
from dovetail.run.hooks import METHODS, Hook, checked_hooks


def hooks_of(definition: Definition, params: HParams) -> list[Hook]:
    """Call a definition's `callbacks` and return what it gives, as hooks in its order.

    Args:
      definition: whose `callbacks` returns one, or a list, of: hooks; Keras callbacks, which one
        hook drives together, in the place of the first; objects with before_run, before_step,
        after_step or after_run.
      params: given to it where it asks for them; their section `callbacks` holds the values of its
        own parameters.

    Returns:
      The hooks of one training; none where the definition has no `callbacks`.

    Raises:
      DefinitionError: it returns something else, or a Keras callback that can't work here.

    Example:
      >>> import dovetail
      >>> hooks_of(dovetail.load(lambda features: None), dovetail.HParams())
      []
    """
    matched = definition.callbacks
    if matched is None:
        return []
    section = params.get("callbacks")
    given = matched({"params": params}, section if isinstance(section, HParams) else None)
    place = where(matched.function)
    hooks: list[Hook] = []
    of_keras: list[Any] = []
    for one in _flat(given, place):
        if keras_callbacks.is_callback(one):
            keras_callbacks.refuse_what_cannot_work(one, place)
            if not of_keras:
                hooks.append(keras_callbacks.KerasCallbacks(of_keras, place))
            of_keras.append(one)
        else:
            hooks.append(_as_hook(one, place))
    return hooks


def _flat(given: Any, place: str) -> list[Any]:
    if given is None:
        raise DefinitionError(f"{place} returned None. {_EXPECTED} An empty list: none.")
    if isinstance(given, (str, bytes, Mapping, type)):
        raise DefinitionError(f"{place} returned {_what(given)}. {_EXPECTED}")
    if isinstance(given, Iterable) and not _is_known(given):
        items = list(given)
    else:
        items = [given]
    return [inner for item in items for inner in keras_callbacks.members(item)]


def _as_hook(one: Any, place: str) -> Hook:
    if not _is_known(one):
        raise DefinitionError(f"{place} gave {_what(one)}. {_EXPECTED}")
    own = {name for name in _OF_HOOKS if callable(getattr(one, name, None))}
    if isinstance(one, Hook) or own:
        strange = sorted({"before_run", "after_run"} & set(dir(type(one))))
        if strange and not isinstance(one, Hook):
            raise DefinitionError(
                f"{place} gave {_what(one)} with {', '.join(strange)} and also "
                f"{', '.join(sorted(own))}. A hook has begin and end instead of before_run and "
                "after_run: keep one kind of names."
            )
        try:
            return checked_hooks([one])[0]
        except ParamsError as error:
            raise DefinitionError(f"{place}: {error}") from None
    return modeler_callback.ModelerCallback(one, place)


def _is_known(one: Any) -> bool:
    """Whether this is one callback of whichever kind, and not its class."""
    if isinstance(one, type):
        return False
    if isinstance(one, Hook) or keras_callbacks.is_callback(one):
        return True
    names = (*METHODS, *modeler_callback.METHODS)
    return any(callable(getattr(one, name, None)) for name in names)


def _what(one: Any) -> str:
    if isinstance(one, type):
        return f"the class {one.__qualname__} instead of an object of it, {one.__qualname__}()"
    return f"{one!r}, of type {type(one).__name__}"


_OF_HOOKS = [name for name in METHODS if name not in modeler_callback.METHODS]
_EXPECTED = (
    "It must return a list of hooks (such as those of dovetail.hooks, or of a class of your own on "
    "dovetail.Hook), of Keras callbacks, or of objects with some of "
    f"{', '.join(modeler_callback.METHODS)}."
)

"""Finding the layer that a call asks for, or making it at the first call."""

from __future__ import annotations

import copy
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.errors import DefinitionError
from dovetail.layers.as_given import restore_given
from dovetail.layers.calls import arguments, base_name, call_site, describe, same
from dovetail.layers.keras.copying import copied
from dovetail.layers.keras.layer import KerasLayer, wrapped_within
from dovetail.layers.keras.objects import is_keras_layer, never_has_state
from dovetail.layers.parameters import First
from dovetail.layers.store import Block, Holder, Made, Store, current_frame

# module that lives outside model_fn -> the store that holds it
_holders: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Store]] = weakref.WeakKeyDictionary()


def layer(factory: Any, *args: Any, name: str | None = None, **kwargs: Any) -> Any:
    """Return the torch module `factory(*args, **kwargs)`: built on the first call, kept ever after.

    Args:
      factory: a class or function that makes an `nn.Module` or a Keras layer, or a module or
        Keras model that lives outside model_fn, which then becomes part of the program; a second
        program gets a copy of it.
      *args: positional arguments of the factory; none for a module.
      name: the layer's name within its block. Without it layers are numbered by factory:
        `linear`, `linear_1`, ... The same name twice is the same layer, with shared weights.
      **kwargs: keyword arguments of the factory.

    Returns:
      The module; of a Keras layer one that calls it.

    Raises:
      DefinitionError: the call asks for something other than it did at first, or for a new layer
        in a program that is built.

    Example:
      >>> import torch
      >>> from dovetail import layers
      >>> with layers.scope() as store:
      ...     y = layers.layer(torch.nn.Linear, 3, 4, name="head")(torch.ones(2, 3))
      >>> store.head.weight.shape
      torch.Size([4, 3])
    """
    return find(factory, args, kwargs, name, None)


def find(
    factory: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str | None,
    base: str | None,
    inputs: Tensor | None = None,
) -> Any:
    """Do the work of `layer`, at every call of a step: its order is for speed.

    Args:
      base: the name to number from where no name is given.
      inputs: makes `first=First(inputs)` one more argument of the factory, which later calls are
        not held against.
    """
    frame = current_frame()
    owner = frame.owner
    if name is not None:
        if name not in owner.made:
            return _make(owner, factory, _Named(args), kwargs, name, None, inputs)
        if not torch.compiler.is_compiling():
            _check_same(owner, name, factory, args, kwargs)
        return owner._modules[name]
    base = base or base_name(factory)
    for made, module in owner.stateless.get(base, ()):
        if same(made.factory, factory) and same(made.args, args) and same(made.kwargs, kwargs):
            return module
    number = frame.counts.get(base, 0)
    full = base if number == 0 else f"{base}_{number}"
    known = owner.made.get(full)
    while known is not None and type(known.args) is _Named:
        number += 1  # the user gave this name to another layer
        full = f"{base}_{number}"
        known = owner.made.get(full)
    if (
        (known is None or known.factory is not factory)
        and isinstance(factory, nn.Module)
        and not any(True for _ in _state(factory))
        and not is_keras_layer(factory)
    ):
        return factory.train(owner.training)  # there is nothing to keep
    if known is None:
        found = _make(owner, factory, args, kwargs, full, base, inputs)
        if full not in owner.made:
            return found  # it has no state, and takes no number
    else:
        if not torch.compiler.is_compiling():
            _check_same(owner, full, factory, args, kwargs)
        found = owner._modules[full]
    frame.counts[base] = number + 1
    return found


class _Named(tuple[Any, ...]):
    """The arguments of a layer to which the user gave a name."""

    __slots__ = ()


def _make(
    owner: Holder,
    factory: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    base: str | None,
    inputs: Tensor | None,
) -> nn.Module:
    """Make a layer; `base` is the name it is numbered from, None where the user named it."""
    root: Store = owner.root[0]  # type: ignore[union-attr]
    place = call_site()
    if isinstance(factory, nn.Module):
        if args or kwargs:
            raise DefinitionError(
                f"{place}: layer '{name}' was given a {type(factory).__name__} and arguments. A "
                "module takes none here: call what `layer` returns."
            )
        module = _own(root, factory, name, place)
    else:
        if not callable(factory):
            raise DefinitionError(
                f"{place}: layer takes a class or function that makes a torch module, or a module; "
                f"it got {factory!r}."
            )
        first = {} if inputs is None else {"first": First(inputs)}
        module = factory(*args, **kwargs, **first)
        if not isinstance(module, nn.Module):
            raise DefinitionError(
                f"{place}: layer '{name}': {describe(factory)} returned a "
                f"{type(module).__name__}; it must return a torch.nn.Module. For a function of "
                "tensors use dovetail.layers.block(function, ...)."
            )
    if is_keras_layer(module):
        module = KerasLayer(module)
    elif "keras" in sys.modules:
        wrapped_within(module, owner.root)  # type: ignore[arg-type]
    if root.device is not None and any(t.device != root.device for t in _state(module)):
        module.to(root.device)  # made on the CPU first, so that every device starts alike
    stateful = any(True for _ in _state(module))
    if isinstance(module, (Block, KerasLayer)):
        module.root = owner.root  # type: ignore[assignment]
        # A Keras layer makes its variables when it is first called.
        stateful = isinstance(module, Block) or not never_has_state(module.given)
    elif not stateful:
        stateful = any(
            isinstance(part, KerasLayer) and not never_has_state(part.given)
            for part in module.modules()
        )
    made = Made(factory, args, kwargs, place)
    module.train(owner.training)
    if not stateful and base is not None:
        known = owner.stateless.setdefault(base, [])
        known.append((made, module))
        owner.add_module(f"_{base}_{len(known)}", module)  # a child, so that train() reaches it
        return module
    if root.sealed and stateful:
        have = ", ".join(owner.made) or "none"
        raise DefinitionError(
            f"{place}: layer '{name}' does not exist in this program, which is built already "
            f"(its layers here: {have}). Every mode must use layers that the first call made, in "
            "the same order; give a layer that only some modes use a name=, and see that TRAIN "
            "mode uses it."
        )
    if "." in name or not name:
        raise DefinitionError(f"{place}: a layer's name may not be empty or hold a dot: '{name}'.")
    if hasattr(owner, name):
        raise DefinitionError(
            f"{place}: a layer can't be named '{name}', since torch modules have an attribute of "
            f"that name. Call it '{name}_layer', say."
        )
    owner.add_module(name, module)
    owner.made[name] = made
    if not root.sealed:
        root.fresh_buffers.extend(
            (part, key, buffer, buffer.detach().clone())
            for part in module.modules()
            for key, buffer in part._buffers.items()
            if buffer is not None
        )
    return module


def _own(root: Store, given: nn.Module, name: str, place: str) -> nn.Module:
    """Return the module itself to the first store that asks, and a copy to any other.

    Programs share nothing: one that predicts from an old checkpoint must not change what another
    trains.
    """
    held = next((n for n, child in root.named_modules() if _given(child) is given), None)
    if held is None:
        held = next(
            (
                f"{path}.{known}".lstrip(".")
                for path, holder in root.named_modules()
                if isinstance(holder, Holder)
                for known, made in holder.made.items()
                if made.factory is given
            ),
            None,
        )
    if held is not None:
        raise DefinitionError(
            f"{place}: the module given as layer '{name}' is already in the program as '{held}'. "
            f"To share it, use the same name."
        )
    holder = _holders.get(given)
    if holder is not None and holder() not in (None, root):
        # What holds the store of the first program's is not to be copied with the layer.
        memo: dict[int, Any] = {
            id(part.root): [] for part in given.modules() if isinstance(part, KerasLayer)
        }
        twin = copied(given) if is_keras_layer(given) else copy.deepcopy(given, memo)
        return restore_given(given, twin)
    _holders[given] = weakref.ref(root)
    return restore_given(given, given)


def _given(module: nn.Module) -> nn.Module:
    return module.given if isinstance(module, KerasLayer) else module


def _check_same(
    owner: Holder, name: str, factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    made = owner.made[name]
    if made.factory is factory and same(made.args, args) and same(made.kwargs, kwargs):
        return
    if isinstance(factory, nn.Module) and factory is not made.factory:
        raise DefinitionError(
            f"{call_site()}: layer '{name}' is given another {type(factory).__name__} than at the "
            f"first call ({made.place}). A module made inside model_fn is new at each call, so its "
            f"weights would never be trained. Make it once, outside model_fn, or pass what makes "
            f"it: layers.layer({type(factory).__name__}, ...)."
        )
    if not same(made.factory, factory):
        raise DefinitionError(
            f"{call_site()}: layer '{name}' is a {describe(factory)} here, but was a "
            f"{describe(made.factory)} at its first call ({made.place}). If they are two layers, "
            "give them two names."
        )
    if not same(made.args, args) or not same(made.kwargs, kwargs):
        raise DefinitionError(
            f"{call_site()}: layer '{name}' is asked for as "
            f"{describe(factory)}({arguments(args, kwargs)}), but its first call "
            f"({made.place}) was {describe(factory)}({arguments(made.args, made.kwargs)}). If they "
            "are two layers, give them two names; if sizes vary between batches, pass fixed ones."
        )


def _state(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()

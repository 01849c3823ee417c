"""A copy of a Keras layer, for a second program.

Keras' own copy writes the layer to a file in memory and reads it again, which needs every class to
be registered or importable, and its constructor's arguments to be plain. This one copies the
objects.
"""

from __future__ import annotations

import copy
import inspect
import sys
from typing import Any

from dovetail.errors import DefinitionError
from dovetail.layers.keras.objects import describe_keras


def copied(layer: Any, memo: dict[int, Any] | None = None) -> Any:
    """Return a deep copy of a Keras layer or model, with its weights.

    Args:
      layer: the layer.
      memo: as of `copy.deepcopy`.

    Raises:
      DefinitionError: something in it can't be copied.
    """
    from keras.src.ops.operation import Operation
    from keras.src.saving.keras_saveable import KerasSaveable
    from keras.src.utils.backend_utils import DynamicBackend
    from keras.src.utils.tracking import DotNotTrackScope

    memo = {} if memo is None else memo
    memo.update((id(module), module) for module in list(sys.modules.values()))
    operations = _reachable(layer, Operation)
    shells: list[tuple[Any, Any]] = []
    for operation in operations:
        if id(operation) not in memo:
            # A new object of the class, whose `build` is its own.
            kind: Any = type(operation)
            memo[id(operation)] = kind.__new__(kind)
            shells.append((operation, memo[id(operation)]))
    try:
        with DotNotTrackScope():
            for operation, shell in shells:
                for name, value in vars(operation).items():
                    if name in _OWN:
                        continue
                    _share(value, memo, (KerasSaveable, DynamicBackend), Operation)
                    vars(shell)[name] = copy.deepcopy(value, memo)
    except Exception as error:
        raise DefinitionError(
            f"{describe_keras(layer)} is used by a second program, which needs a copy of its own, "
            f"and can't be copied ({type(error).__name__}: {error}). Make it where the program "
            "is made: in a file that Dovetail executes, in `def model(): ...`, or give its class: "
            f"layers.layer({type(layer).__name__}, ...)."
        ) from error
    return memo[id(layer)]


_OWN = frozenset({"build", "quantize"})  # functions that Keras binds to each object when it is made


def _reachable(layer: Any, kind: type) -> list[Any]:
    """Return the layer, all within it, and all that its graph of calls leads to."""
    found: dict[int, Any] = {}
    todo = [layer]
    while todo:
        operation = todo.pop()
        if id(operation) in found or not isinstance(operation, kind):
            continue
        found[id(operation)] = operation
        todo.extend(getattr(operation, "_layers", ()))
        todo.extend(getattr(operation, "_operations", ()))
        todo.append(getattr(operation, "_functional", None))
        for node in (*operation._inbound_nodes, *operation._outbound_nodes):
            todo.append(node.operation)
            todo.extend(
                tensor._keras_history.operation
                for tensor in (*node.input_tensors, *node.output_tensors)
                if hasattr(tensor, "_keras_history")
            )
    return list(found.values())


def _share(value: Any, memo: dict[int, Any], kinds: tuple[type, ...], operation: type) -> None:
    """Let the copy use the same optimizers, metrics and the like, which no program uses."""
    for item in value if isinstance(value, (list, tuple)) else (value,):
        kept = isinstance(item, kinds) and not isinstance(item, operation)
        if kept or isinstance(item, inspect.Signature):
            memo.setdefault(id(item), item)

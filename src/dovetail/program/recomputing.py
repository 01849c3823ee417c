"""Modules whose activations are computed anew in the backward pass, by patterns of their names."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dovetail.errors import DefinitionError, nearest
from dovetail.layers.as_given import RECOMPUTED
from dovetail.layers.keras.layer import KerasLayer
from dovetail.layers.keras.variables import KerasGroup
from dovetail.program.freezing import matching

_SHOWN = 10


def recompute(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Let the modules whose dotted names match a pattern keep no activations.

    Their forward pass is run again in the backward pass, with the same random numbers and without
    touching their buffers a second time, so gradients and buffers are the same bit for bit. Of
    modules within each other only the outermost is wrapped.

    Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", by
    `torch.utils.checkpoint` (the variant without re-entry).

    Args:
      network: its modules, by their names as in parameters ("block_1" holds "block_1.linear").
      patterns: shell patterns, such as "block_*"; a name stands for itself.

    Returns:
      The names of the modules that are wrapped.

    Raises:
      DefinitionError: a pattern matches no module.

    Example:
      >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
      >>> recompute(net, ["0"])
      ['0']
    """
    modules = {name: module for name, module in network.named_modules() if name}
    for pattern in patterns:
        if not matching(modules, pattern):
            shown = ", ".join(list(modules)[:_SHOWN]) + (", ..." if len(modules) > _SHOWN else "")
            raise DefinitionError(
                f"recompute: '{pattern}' matches no module.{nearest(pattern, list(modules))} "
                f"The modules are {shown or 'none'}."
            )
    wrapped: list[str] = []
    chosen = {name for pattern in patterns for name in matching(modules, pattern)}
    for name in modules:  # a module comes before those within it
        if name in chosen and not any(name.startswith(f"{above}.") for above in wrapped):
            module = modules[name]
            if isinstance(module, KerasGroup) and not isinstance(module, KerasLayer):
                whole = next(
                    above for above in _above(name) if isinstance(modules.get(above), KerasLayer)
                )
                raise DefinitionError(
                    f"recompute: '{name}' is a part of the Keras model '{whole}', which can be "
                    f"recomputed as a whole only. Write recompute=['{whole}']."
                )
            # A partial, not a closure: a deep copy of the network then holds its own modules.
            module.forward = functools.partial(_forward, module, type(module).forward)
            setattr(module, RECOMPUTED, True)
            wrapped.append(name)
    return wrapped


def _above(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _forward(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled() or torch.compiler.is_exporting():
        return forward(module, *args, **kwargs)
    if torch.compiler.is_compiling():  # the compiler writes buffers once, and takes no contexts
        return checkpoint(functools.partial(forward, module), *args, use_reentrant=False, **kwargs)
    return checkpoint(
        functools.partial(forward, module),
        *args,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), copied_buffers(module)),
        **kwargs,
    )


@contextlib.contextmanager
def copied_buffers(module: nn.Module) -> Iterator[None]:
    """Let a module work on copies of its buffers, so that a second pass leaves no trace.

    The buffers are replaced, not written back, so whoever reads one meanwhile sees its value.
    """
    own: list[tuple[nn.Module, str, Tensor]] = [
        (part, name, buffer)
        for part in module.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]
    for part, name, buffer in own:
        part._buffers[name] = buffer.clone()
    try:
        yield
    finally:
        for part, name, buffer in own:
            part._buffers[name] = buffer

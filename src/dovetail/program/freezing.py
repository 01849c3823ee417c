"""Parameters that are held fast, by patterns of their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from dovetail.errors import DefinitionError, nearest
from dovetail.layers.as_given import FROZEN
from dovetail.layers.keras.objects import is_batch_normalization
from dovetail.layers.keras.variables import KerasGroup

_SHOWN = 10


def freeze(network: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Hold every parameter whose dotted name matches a pattern: it gets no gradient.

    Batch normalization holds its running statistics too where its parameters are all frozen by the
    patterns, or, if it has none, where its statistics match: it then normalizes by them as it
    does in evaluation. Other layers, dropout among them, go on as in training.

    Args:
      network: its parameters, by their names in checkpoints.
      patterns: shell patterns, such as "encoder.*"; a name stands for itself.

    Returns:
      The modules that must stay in evaluation mode.

    Raises:
      DefinitionError: a pattern matches no parameter, or nothing is left to train.

    Example:
      >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
      >>> freeze(net, ["0.*"])
      []
      >>> [name for name, p in net.named_parameters() if p.requires_grad]
      ['1.weight', '1.bias']
    """
    named = dict(network.named_parameters(remove_duplicate=False))
    buffers = [name for name, _ in network.named_buffers(remove_duplicate=False)]
    for pattern in patterns:
        if not matching([*named, *buffers], pattern):
            raise DefinitionError(
                f"freeze: '{pattern}' matches no parameter.{_near(pattern, list(named))} "
                f"The parameters are {_some(list(named))}."
            )
    frozen = {name for pattern in patterns for name in matching(named, pattern)}
    still = {id(named[name]) for name in frozen}  # a tied parameter has several names
    if patterns and not any(p.requires_grad and id(p) not in still for p in named.values()):
        raise DefinitionError(
            f"freeze={list(patterns)} leaves no parameter to train. Leave some out; they are "
            f"{_some(list(named))}."
        )
    for name in frozen:
        if named[name].requires_grad:
            setattr(named[name], FROZEN, True)
            named[name].requires_grad_(False)
    return [
        module
        for path, module in network.named_modules()
        if _normalizes(module) and _held(path, module, frozen, patterns)
    ]


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """Return the names that a shell pattern matches, in their order."""
    return [name for name in names if fnmatchcase(name, pattern)]


def _normalizes(module: nn.Module) -> bool:
    if isinstance(module, KerasGroup):
        return any(is_batch_normalization(owner) for owner in module.owners)
    return isinstance(module, nn.modules.batchnorm._NormBase)


def _held(path: str, module: nn.Module, frozen: set[str], patterns: Sequence[str]) -> bool:
    def within(name: str) -> str:
        return f"{path}.{name}" if path else name

    own = [within(name) for name, _ in module.named_parameters(recurse=False)]
    if own:
        return all(name in frozen for name in own)
    mean = "moving_mean" if isinstance(module, KerasGroup) else "running_mean"
    return any(fnmatchcase(within(mean), pattern) for pattern in patterns)


def _near(pattern: str, names: list[str]) -> str:
    wanted = pattern.strip("*.")
    return nearest(pattern, names) or nearest(wanted, _beginnings(names))


def _beginnings(names: list[str]) -> list[str]:
    """Return the names of modules that hold something: what a pattern mostly begins with."""
    found: dict[str, None] = {}
    for name in names:
        while "." in name:
            name = name.rpartition(".")[0]
            found[name] = None
    return list(found)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")

"""Filters of names of parameters: by layer, by part of a name, by pattern."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from dovetail.errors import DefinitionError, nearest

_WILD = frozenset("*?[")
_SHOWN = 10


def fits(name_filter: str, name: str) -> bool:
    """Whether a filter means a parameter.

    Args:
      name_filter: a pattern with `*`, `?` or `[...]`, which the whole name must match; or, without
        these, one or several dotted parts of the name next to each other.
      name: a dotted name.

    Example:
      >>> fits("logits", "logits.weight"), fits("bias", "block.conv2d.bias")
      (True, True)
      >>> fits("conv2d", "conv2d_1.weight"), fits("conv2d*.weight", "conv2d_1.weight")
      (False, True)
    """
    if _WILD.intersection(name_filter):
        return fnmatchcase(name, name_filter)
    return f".{name_filter}." in f".{name}."


def chosen(
    names: Iterable[str],
    *,
    only: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    what: str = "filters",
) -> tuple[str, ...]:
    """Return the names that the filters leave, in order.

    Args:
      names: of parameters.
      only: filters of which a name must fit one; None takes all.
      skip: filters of which it may fit none.
      what: who gave the filters, for messages.

    Raises:
      DefinitionError: a filter fits no name.

    Example:
      >>> chosen(["conv2d.weight", "conv2d.bias"], skip=["bias"])
      ('conv2d.weight',)
    """
    known = list(names)
    for name_filter in (*(only or ()), *skip):
        if not any(fits(name_filter, name) for name in known):
            more = ", ..." if len(known) > _SHOWN else ""
            parts = {part for name in known for part in (name, *name.split("."))}
            raise DefinitionError(
                f"{what}: '{name_filter}' fits no parameter."
                f"{nearest(name_filter.replace('*', ''), sorted(parts))} "
                f"There are {', '.join(known[:_SHOWN]) or 'none'}{more}. Give a part of their "
                "names between dots, such as a layer's, or a pattern with '*'."
            )
    return tuple(
        name
        for name in known
        if (only is None or any(fits(f, name) for f in only))
        and not any(fits(f, name) for f in skip)
    )

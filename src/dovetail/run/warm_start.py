"""Which parameters of another run a new one begins with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from dovetail.errors import ParamsError


@dataclass(frozen=True)
class WarmStart:
    """What to take from another run's checkpoint before the first step of a new run.

    Args:
      path: a checkpoint's directory; a model_dir, whose newest good checkpoint is taken; or a
        file of tensors that ends in .safetensors.
      variables: patterns of names, in this definition, of the parameters and buffers to take; all
        by default, as far as the checkpoint has them.
      renames: name in this definition -> name in the checkpoint; both may hold one `*`, which
        stands for the same on both sides.
      skip_mismatched: leave out what has another shape there, instead of refusing it.
      skip: filters of names, in this definition, of what is not taken: patterns with `*`, or parts
        of a dotted name ("logits" fits "logits.weight").
      averages: take the averages of the parameters where the checkpoint has any (`ema_decay`).

    Raises:
      ParamsError: a rename can't be read.

    Example:
      >>> WarmStart("runs/pretrained", ("encoder.*",), {"encoder.*": "backbone.*"}).averages
      True
    """

    path: str
    variables: tuple[str, ...] = ("*",)
    renames: Mapping[str, str] = field(default_factory=dict)
    skip_mismatched: bool = False
    averages: bool = True
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fspath(self.path))
        given = self.variables
        patterns = (given,) if isinstance(given, str) else tuple(given)
        object.__setattr__(self, "variables", patterns)
        skip = (self.skip,) if isinstance(self.skip, str) else tuple(self.skip)
        object.__setattr__(self, "skip", skip)
        for ours, theirs in self.renames.items():
            if ours.count("*") != theirs.count("*") or ours.count("*") > 1:
                raise ParamsError(
                    f"WarmStart: the rename {ours!r}: {theirs!r} must hold no '*', or one on each "
                    "side, such as {'encoder.*': 'backbone.*'}."
                )

    def source(self, name: str) -> str:
        """Return the name in the checkpoint of what is called `name` here.

        The first rename that fits is used; a name that none fits is the same there.

        >>> WarmStart("old", renames={"encoder.*": "backbone.*"}).source("encoder.conv.weight")
        'backbone.conv.weight'
        """
        for ours, theirs in self.renames.items():
            if self.fits(ours, name):
                if "*" not in ours:
                    return theirs
                before, _, after = ours.partition("*")
                return theirs.replace("*", name[len(before) : len(name) - len(after)])
        return name

    @staticmethod
    def fits(pattern: str, name: str) -> bool:
        """Whether the left side of a rename means this name."""
        before, star, after = pattern.partition("*")
        if not star:
            return name == pattern
        long_enough = len(name) >= len(before) + len(after)
        return long_enough and name.startswith(before) and name.endswith(after)

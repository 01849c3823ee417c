"""Which parameters of another run a new one begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class WarmStart:
    """What to take from another run's checkpoint before the first step of a new run.

    Args:
      path: a checkpoint's directory, or a model_dir, whose newest checkpoint is taken.
      variables: patterns of names of the parameters and buffers to take; all by default.
      renames: name in this definition -> name in the checkpoint.

    Example:
      >>> WarmStart("runs/pretrained", variables=("encoder.*",)).renames
      {}
    """

    path: str
    variables: tuple[str, ...] = ("*",)
    renames: Mapping[str, str] = field(default_factory=dict)

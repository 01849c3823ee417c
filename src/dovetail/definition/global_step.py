"""The number of finished optimizer steps, as a tensor that model_fn can use."""

from __future__ import annotations

import torch
from torch import Tensor

from dovetail.errors import DefinitionError
from dovetail.layers.store import current_frame


def get_global_step() -> Tensor:
    """Return the number of finished training steps: an int64 tensor of shape [].

    During the first training step it is 0. Outside a program (in `layers.scope()`) it is 0 too.

    Raises:
      DefinitionError: no model_fn is running.
    """
    root = current_frame().owner.root[0]  # type: ignore[union-attr]
    step = getattr(root, "global_step", None)
    if step is None:
        return torch.zeros((), dtype=torch.int64)
    if not isinstance(step, Tensor):
        raise DefinitionError("The name 'global_step' is taken by a layer; rename the layer.")
    # A copy: the program's own tensor moves on at the end of the step, under whatever keeps it.
    return step.clone()

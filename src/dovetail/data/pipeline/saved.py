"""Where an action's results go: into components of the batch and variables of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dovetail.data.pipeline.named import Component, Named
from dovetail.errors import ParamsError, nearest


def save(results: Mapping[str, Any], save_to: Any, batch: Any, *, main: str, action: str) -> None:
    """Write results to where an action is to save them, as arrays or numbers.

    Args:
      results: what there is, by name. A value that is a dict can be taken by its own names too.
      save_to: None: nowhere. A `Component`, the name of one, or a `Variable`: gets the main
        result. A dict from names of results to these: gets each of them.
      batch: in an action of a pipeline.
      main: the name of the result that is saved where none is named.
      action: whose results they are, for messages.

    Raises:
      ParamsError: there is no such result, or nothing can be saved there.
    """
    if save_to is None:
        return
    targets = save_to if isinstance(save_to, Mapping) else {main: save_to}
    known = dict(results)
    for value in results.values():
        if isinstance(value, Mapping):
            known = {**value, **known}
    for name, target in targets.items():
        if name not in known:
            raise ParamsError(
                f"{action}: there is no '{name}' to save.{nearest(str(name), map(str, known))} "
                f"There are: {', '.join(map(str, known)) or 'none'}."
            )
        place = Component(target) if isinstance(target, str) else target
        if not isinstance(place, Named):
            raise ParamsError(
                f"{action}: save_to is a Component, a Variable, or a dict of them by what is to be "
                f"saved; got {place!r}."
            )
        value = as_arrays(known[name])
        if isinstance(value, Mapping) and len(value) == 1 and not isinstance(save_to, Mapping):
            value = next(iter(value.values()))
        place.set(batch, batch.pipeline, value)


def as_arrays(value: Any) -> Any:
    """Give tensors as arrays, those without dimensions as numbers; in dicts and lists too.

    >>> import torch
    >>> as_arrays({"loss": torch.tensor(0.5), "classes": torch.tensor([1, 2])})
    {'loss': 0.5, 'classes': array([1, 2])}
    """
    if isinstance(value, Mapping):
        return {name: as_arrays(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(as_arrays(one) for one in value)
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # which numpy has not
            value = value.float()
        value = value.numpy()
    return value.item() if getattr(value, "shape", None) == () else value

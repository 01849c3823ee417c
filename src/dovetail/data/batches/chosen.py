"""What of a batch is meant: components by their names, named values, functions, by one rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dovetail.data.pipeline.named import Named
from dovetail.errors import DataError, ParamsError

LABELS = ("label", "labels")


def chosen(what: Any, batch: Any, pipeline: Any) -> Any:
    """Give what is meant of a batch.

    Args:
      what: the name of a component; a named value; a function of the batch; a dict of these, or a
        list or tuple of names, which give a dict; anything else is meant as it stands.
      batch: which it is of.
      pipeline: that is at work on the batch, for its variables and config.

    >>> from dovetail.data.batches.batch import Batch
    >>> batch = Batch([7, 9], preloaded={"x": np.array([1, 2])})
    >>> chosen({"x": "x", "ids": lambda batch: batch.indices}, batch, None)
    {'x': array([1, 2]), 'ids': array([7, 9])}
    """
    if isinstance(what, str):
        return together(batch.column(what), what)
    if isinstance(what, Named):
        return together(what.get(batch, pipeline), repr(what))
    if isinstance(what, Mapping):
        return {name: chosen(one, batch, pipeline) for name, one in what.items()}
    if isinstance(what, (list, tuple)) and what and all(isinstance(one, str) for one in what):
        return {name: chosen(name, batch, pipeline) for name in what}
    if callable(what) and not hasattr(what, "__array__"):
        return what(batch)
    return what


def pair(
    features: Any, labels: Any, batch: Any, pipeline: Any, *, labelled: bool = True
) -> tuple[Any, Any]:
    """Give what is meant by features and labels.

    Args:
      features, labels: see `chosen`. Without features: all components but those called label or
        labels, which are the labels.
      batch, pipeline: see `chosen`.
      labelled: whether labels are wanted; if not, they need not be there.
    """
    if features is None and labels is None:
        return _by_name(batch, labelled)
    wanted = labelled and labels is not None
    return chosen(features, batch, pipeline), chosen(labels, batch, pipeline) if wanted else None


def _by_name(batch: Any, labelled: bool) -> tuple[Any, Any]:
    components = [name for name in batch.components or () if batch.has(name)]
    if not components:
        if batch.components or batch.data is None:
            raise DataError(f"{batch!r} has no data to give. Load it in an action before.")
        return together(batch.data, "the batch"), None
    taken = {
        name: together(batch.column(name), name)
        for name in components
        if labelled or name not in LABELS
    }
    found = {name: taken.pop(name) for name in LABELS if name in taken}
    if not taken:
        raise DataError(
            f"{batch!r} has nothing but {' and '.join(found) or 'labels'}. Say what the features "
            "are: features=..., labels=...."
        )
    for name, label in found.items():
        if getattr(label, "shape", ())[1:] == (1,):
            found[name] = label.reshape(-1)
    return taken, next(iter(found.values())) if len(found) == 1 else found or None


def checked_choice(what: Any, where: str) -> Any:
    """Return what is to be chosen of each batch of a run, or raise ParamsError.

    Args:
      what: see `chosen`; here it must say something of the batch.
      where: what asks, for messages.
    """
    if isinstance(what, Mapping) and what:
        return {name: checked_choice(one, f"{where}['{name}']") for name, one in what.items()}
    names = isinstance(what, (list, tuple)) and what and all(isinstance(n, str) for n in what)
    if names or isinstance(what, (str, Named)) or (callable(what) and not isinstance(what, type)):
        return what
    raise ParamsError(
        f"{where} is the name of a component, a named value such as Component('images'), a "
        f"function of the batch, or a dict of these; got {what!r}."
    )


def together(values: Any, what: str) -> Any:
    """Make one array of a list of arrays, one for each item.

    Raises:
      DataError: they differ in shape.
    """
    if not isinstance(values, list) or not values:
        return values
    if not all(isinstance(one, np.ndarray) for one in values):
        return values
    shapes = sorted({one.shape for one in values})
    if len(shapes) > 1:
        raise DataError(
            f"The items of {what} differ in shape ({', '.join(map(str, map(list, shapes[:3])))}"
            f"{', ...' if len(shapes) > 3 else ''}), so they are no tensor. Add an action before "
            "that makes them alike, such as resize, crop or pad."
        )
    return np.stack(values)

"""A batch of arrays, with actions that are ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from dovetail.data.batches.actions import action
from dovetail.data.batches.array_changes import mixed, mixing, noisy, normalized, one_hot
from dovetail.data.batches.batch import Batch
from dovetail.data.batches.inbatch import assembled
from dovetail.errors import DataError

Components = str | Sequence[str] | None

_MAIN = ("images", "image")
_LABELS = ("labels", "label")


class ArrayBatch(Batch):
    """A batch of arrays, which may be of different sizes, with actions for them.

    What is random is drawn for each item from its own seed, so it depends neither on the batch
    that an item comes in nor on threads; only `mixup` looks at its neighbours.

    The actions take `component`: what is changed, by one name or several, which then get the same
    change (an image and its mask). Without it: "images" or "image" if there is such a component,
    else the first.

    >>> batch = ArrayBatch([1, 2], preloaded={"x": np.array([[1.0, 3.0], [5.0, 9.0]])})
    >>> batch.normalize().x.tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    @action
    def normalize(
        self,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        *,
        component: Components = None,
    ) -> Self:
        """Subtract a mean and divide by a deviation, to float32; see `normalized`.

        Args:
          mean, std: in the units of the values; neither: each item's own.
        """
        return self.change(lambda values, seeds: normalized(values, mean, std), component)

    @action
    def noise(
        self,
        scale: float,
        *,
        kind: str = "normal",
        p: float = 1.0,
        component: Components = None,
    ) -> Self:
        """Add noise to each number; see `noisy`.

        Args:
          scale: the standard deviation, or half the width of noise of the kind "uniform".
          p: how likely each item gets any.
        """
        draw = self.next_draw()
        return self.change(
            lambda values, seeds: noisy(values, seeds, scale, kind=kind, p=p, draw=draw), component
        )

    @action
    def mixup(
        self,
        alpha: float = 0.2,
        *,
        labels: str | None = None,
        num_classes: int | None = None,
        component: Components = None,
    ) -> Self:
        """Mix each item, and its label, with another of the batch; see `mixing`.

        Args:
          alpha: of the Beta distribution of the shares.
          labels: the component of the labels; None: "labels" or "label", if there is one.
          num_classes: of labels that are whole numbers; they become [n, num_classes].

        Raises:
          DataError: if the items are not of one shape, or `num_classes` is lacking.
        """
        if labels is None:
            labels = next((name for name in _LABELS if name in (self.components or ())), None)
        partners, shares = mixing(self.seeds, alpha, self.next_draw())
        if labels is not None:
            targets = np.asarray(self._array(labels))
            if targets.dtype.kind in "biu":
                if num_classes is None:
                    raise DataError(
                        f"mixup of labels that are whole numbers ('{labels}') needs num_classes: "
                        "mixed labels are shares of all classes."
                    )
                targets = one_hot(targets, num_classes)
            setattr(self, labels, mixed(targets, partners, shares))
        for name in self.changed_components(component):
            self._set(name, mixed(self._array(name), partners, shares))
        return self

    def change(
        self,
        fn: Callable[[np.ndarray, np.ndarray], np.ndarray],
        component: Components = None,
    ) -> Self:
        """Replace components by what a function of all items makes of them.

        Args:
          fn: is given values [n, ...] and the items' seeds, int64 [n], and gives values [n, ...].
            Items of different sizes are given to it one by one (n is 1).
          component: see the class.
        """
        for name in self.changed_components(component):
            values = self.column(name)
            if hasattr(values, "numpy"):
                values = values.numpy()
            if isinstance(values, np.ndarray) and values.dtype != object:
                made: Any = fn(values, self.seeds)
            else:
                made = assembled(
                    [
                        fn(np.asarray(one)[None], self.seeds[at : at + 1])[0]
                        for at, one in enumerate(values)
                    ]
                )
            self._set(name, made)
        return self

    def changed_components(self, component: Components = None) -> Sequence[str | None]:
        """Give the names that an action's `component` means; None is the nameless whole."""
        if component is not None:
            return (component,) if isinstance(component, str) else tuple(component)
        if not self.components:
            return (None,)
        return (next((name for name in _MAIN if name in self.components), self.components[0]),)

    def _array(self, name: str | None) -> np.ndarray:
        values = self.column(name)
        if isinstance(values, list):
            values = assembled(values)
        if isinstance(values, list):
            raise DataError(
                f"mixup needs items of one shape; those of '{name or 'data'}' differ. Crop, pad "
                "or resize them first."
            )
        return np.asarray(values)

    def _set(self, name: str | None, values: Any) -> None:
        if name is None:
            self.data = values
        else:
            setattr(self, name, values)

"""A pipeline as the input of a run: which of its batches' data are features, and which labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dovetail.data.chosen import checked_choice, chosen, together
from dovetail.data.feed import LABELS, as_tensors
from dovetail.data.flow import Flow, Pass
from dovetail.errors import DataError

if TYPE_CHECKING:
    from dovetail.data.batch import Batch
    from dovetail.data.pipeline import Pipeline


@dataclass(frozen=True, eq=False)
class Feeding:
    """What `Pipeline.feed` gives: batches of (features, labels) for a run.

    Iterating over it gives them as tensors, anew each time; a run asks for them from where it
    stands.

    Attributes:
      pipeline: over a data set.
      features, labels: what of each batch they are, see `Pipeline.feed`.
      options: how the pipeline is run, as far as that was said: fields of `Pass`.
    """

    pipeline: Pipeline
    features: Any = None
    labels: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pipeline.dataset is None:
            raise DataError(
                "This pipeline has no data set, so it can't feed a run: it is a template. Bind it "
                "first, as in (pipeline << dataset).feed(...)."
            )
        for name in ("features", "labels"):
            if getattr(self, name) is not None:
                checked_choice(getattr(self, name), name)
        if self.labels is not None and self.features is None:
            raise DataError(
                "feed got labels and no features. Name both; or neither: then the components "
                f"named {' or '.join(LABELS)} are the labels, and the others the features."
            )
        if "batch_size" in self.options or self.pipeline.lazy_pass is not None:
            self.how({})  # refuses options that make no sense

    @property
    def says_how(self) -> bool:
        """Whether anything was said of how the pipeline is run."""
        return bool(self.options) or self.pipeline.lazy_pass is not None

    def how(self, otherwise: Mapping[str, Any]) -> Pass:
        """Give the pass to make.

        Args:
          otherwise: fields of it that hold where nothing was said of them.
        """
        lazy = self.pipeline.lazy_pass
        if lazy is not None:
            return replace(lazy, **self.options)
        return Pass(**{**otherwise, **self.options})

    def pair(self, batch: Batch, *, labelled: bool = True) -> tuple[Any, Any]:
        """Give (features, labels) of a batch, as tensors.

        Args:
          batch: the steps done.
          labelled: whether labels are wanted; if not, they need not be there.
        """
        if self.features is None:
            return _by_name(batch, labelled)
        features = as_tensors(chosen(self.features, batch, self.pipeline), "features")
        if self.labels is None or not labelled:
            return features, None
        return features, as_tensors(chosen(self.labels, batch, self.pipeline), "labels")

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        with Flow(self.pipeline, self.how({})) as flow:
            for batch in flow:
                yield self.pair(batch)

    def __repr__(self) -> str:
        return f"{self.pipeline!r}.feed"


def _by_name(batch: Batch, labelled: bool) -> tuple[Any, Any]:
    """Take the components called label or labels as labels and all others as features."""
    components = [name for name in batch.components or () if batch.has(name)]
    if not components:
        if batch.components or batch.data is None:
            raise DataError(f"{batch!r} has no data to feed. Load it in an action.")
        return as_tensors(together(batch.data, "the batch"), "features"), None
    taken = {
        name: as_tensors(together(batch.column(name), f"'{name}'"), f"'{name}'")
        for name in components
        if labelled or name not in LABELS
    }
    labels = {name: taken.pop(name) for name in LABELS if name in taken}
    if not taken:
        raise DataError(
            f"{batch!r} has nothing but {' and '.join(labels) or 'labels'}. Say what the features "
            "are: pipeline.feed(features=..., labels=...)."
        )
    for name, label in labels.items():
        if getattr(label, "shape", ())[1:] == (1,):
            labels[name] = label.reshape(-1)
    return taken, next(iter(labels.values())) if len(labels) == 1 else labels or None

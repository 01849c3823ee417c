"""A pipeline as the input of a run: which of its batches' data are features, and which labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dovetail.data.batches.chosen import LABELS, checked_choice, pair
from dovetail.data.feed import as_tensors
from dovetail.data.pipeline.flow import Flow, Pass
from dovetail.errors import DataError

if TYPE_CHECKING:
    from dovetail.data.batches.batch import Batch
    from dovetail.data.pipeline.pipeline import Pipeline


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
        features, labels = pair(self.features, self.labels, batch, self.pipeline, labelled=labelled)
        return as_tensors(features, "features"), as_tensors(labels, "labels")

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        with Flow(self.pipeline, self.how({})) as flow:
            for batch in flow:
                yield self.pair(batch)

    def __repr__(self) -> str:
        return f"{self.pipeline!r}.feed"

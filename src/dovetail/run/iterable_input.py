"""An iterable of batches as an input: where it stands, and how a resumed run gets there again."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from typing import Any, Literal

import numpy as np
import torch

from dovetail.data.feed import Fed, as_tensors
from dovetail.errors import DataError
from dovetail.program.batches import count
from dovetail.program.randomness import derive
from dovetail.run.fast_forward import dropped
from dovetail.run.held_state import NotHeldError, given_back, held
from dovetail.run.pairs import split_pair
from dovetail.run.seeded_input import GENERATORS_IN_USE

Unpositioned = Literal["restart", "fast_forward", "refuse"]

_OPENING, _BATCH = 4, 5  # salts; SeededInput uses 3
_EXACT = "Train on records for an exact resume, or choose unpositioned_input='fast_forward'."


class IterableInput:
    """Any iterable of (features, labels) as an input.

    Its random numbers are derived from the seed and its position: the generators of torch (the
    CPU's), numpy and random are seeded before each batch is drawn, and the caller is to put them
    back. So a batch is the same whatever was drawn in between.

    An iterable that says and takes its position (`state_dict` and `load_state_dict`, as torchdata's
    StatefulDataLoader has, or its iterator) goes on from there. Any other begins at its beginning.

    Args:
      iterable: made anew for each run by the caller.
      name: of the function that made it, for messages.
      labelled: whether the second of a pair is kept.
      seed: of the run.
      unpositioned: what is done where a run that stands somewhere meets an iterable that can't
        start there: "restart" it, "fast_forward" it by drawing and dropping what was used, or
        "refuse".
      repeatable: whether the generators are seeded.
      function: that made the iterable, if one did.

    Attributes:
      started_at: the position at which the present pass over the iterable began.
      batch_size: of the first batch; None before it.
    """

    positioned = False

    def __init__(
        self,
        iterable: Iterable[Any],
        name: str,
        *,
        labelled: bool = True,
        seed: int = 0,
        unpositioned: Unpositioned = "restart",
        repeatable: bool = True,
        function: Callable[..., Any] | None = None,
    ) -> None:
        self.iterable = iterable
        self.name = name
        self.total: int | None = None
        self.labelled = labelled
        self.seed = seed
        self.unpositioned = unpositioned
        self.repeatable = repeatable and not isinstance(iterable, (list, tuple))
        self.function = function
        self.started_at = 0
        self.batch_size: int | None = None
        self._iterator: Iterator[Any] | None = None
        self._stands_at: int | None = None  # None while a batch is drawn, and where that failed
        self._not_held = ""  # why its state can't be in a checkpoint

    def batches(
        self,
        position: int,
        *,
        state: Mapping[str, Any] | None = None,
        say: Callable[[str], object] | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> Generator[Fed]:
        """Yield batches from `position` on, as far as the iterable lets that be done.

        Args:
          position: where the run stands, in examples.
          state: what `state(position)` gave then.
          say: is told of what takes long.
          stopped: asked while batches are dropped; if it says so, nothing is yielded.

        Raises:
          DataError: the iterable can't go on from there and was told to refuse that, or it is not
            the one that the run was trained on.
        """
        known = state is not None and state.get("position") == position
        kept = state["held"] if state is not None and known else None
        if kept is not None and not self._takes_state():
            kept = None
        if kept is None and position and self.unpositioned == "refuse":
            raise DataError(
                f"{self.name} can't start at example {position:,}, where the run stands, and "
                "unpositioned_input is 'refuse'. Train on records, or on an iterable with "
                "state_dict and load_state_dict; or choose 'fast_forward' (the batches used before "
                "are drawn and dropped) or 'restart' (it begins anew)."
            )
        at = position
        if kept is not None and state is not None:
            self.started_at = int(state["began_at"])
        elif self.unpositioned == "fast_forward":
            self.started_at = at = 0
        else:
            self.started_at = position
        iterator = self._begun(kept)
        if at < position:
            at = dropped(
                lambda at: self._drawn(iterator, at),
                position,
                name=self.name,
                say=say or (lambda text: None),
                stopped=stopped or (lambda: False),
            )
        while at >= position:
            fed = self._drawn(iterator, at)
            if fed is None:
                return
            at = fed.position_after
            yield fed

    def state(self, position: int) -> dict[str, Any] | None:
        """Return what to give to `batches` for a run that stands at `position`, as JSON.

        None where the iterable says nothing of its position, stands elsewhere, or says what a
        checkpoint can't hold, which `note` tells.
        """
        keeper = self._keeper()
        if keeper is None or self._stands_at != position or self._not_held:
            return None
        try:
            kept = held(keeper.state_dict())
        except NotHeldError as error:
            self._not_held = f"its state_dict can't be held by a checkpoint: {error}"
        except Exception as error:
            self._not_held = f"its state_dict raised {type(error).__name__}: {error}"
        else:
            return {"position": position, "began_at": self.started_at, "held": kept}
        return None

    def note(self, step: int, position: int) -> str | None:
        """Say what keeps a run on this input from being resumed, or from having been, exactly.

        Args:
          step, position: where the run stood when it began. The first batch is drawn by now.
        """
        if self._stands_at is not None:
            self.state(self._stands_at)  # to know now whether a checkpoint can hold it
        why = f" ({self._not_held})" if self._not_held else ""
        cannot = f"{self.name} can't be positioned{why}: "
        if position and self.started_at == position:
            if self._keeps_position:
                cannot = f"The checkpoint holds no position of {self.name}: "
            return (
                f"{cannot}it starts from its beginning, not from where the run stood at step "
                + (f"{step}. {_EXACT}")
            )
        if self._keeps_position or (position and self.unpositioned == "fast_forward"):
            return None
        later = {
            "fast_forward": "draw the batches again that were used, and drop them.",
            "refuse": "be refused, since unpositioned_input is 'refuse'.",
            "restart": f"take it from its beginning. {_EXACT}",
        }
        return (
            f"{cannot}a run that is interrupted and started again will {later[self.unpositioned]}"
        )

    def describe(self, position: int, count: int) -> str:
        """Say which examples a batch held, for messages."""
        first = position - self.started_at
        return f"examples {first} to {first + count - 1} of {self.name}, counted from 0"

    @property
    def _keeps_position(self) -> bool:
        return self._keeper() is not None and not self._not_held

    def _keeper(self) -> Any:
        """Return the one of iterable and iterator that says and takes its position, or None."""
        for one in (self.iterable, self._iterator):
            if all(
                callable(getattr(one, name, None)) for name in ("state_dict", "load_state_dict")
            ):
                return one
        return None

    def _takes_state(self) -> bool:
        if self._keeper() is None:  # its iterator may
            with self._seeded(0, _OPENING):
                self._iterator = iter(self.iterable)
        return self._keeper() is not None

    def _begun(self, kept: Any) -> Iterator[Any]:
        """Begin a pass over the iterable, at a position that it gave."""
        with self._seeded(self.started_at, _OPENING):
            try:
                if kept is not None and self._keeper() is self.iterable:
                    self._keeper().load_state_dict(given_back(kept))
                self._iterator = iter(self.iterable)
                if kept is not None and self._keeper() is not self.iterable:
                    self._keeper().load_state_dict(given_back(kept))
            except Exception as error:
                if kept is None:
                    raise
                raise DataError(
                    f"{self.name} does not take the position that the checkpoint holds: "
                    f"{type(error).__name__}: {error}. If it was changed since, go back to what it "
                    "was, or train in another model_dir."
                ) from error
            return self._iterator

    def _drawn(self, iterator: Iterator[Any], at: int) -> Fed | None:
        """Draw the batch that begins at a position; None at the end."""
        self._stands_at = None
        with self._seeded(at, _BATCH):
            try:
                item = next(iterator)
            except StopIteration:
                self._stands_at = at
                return None
            features, labels = split_pair(item, self.name, labelled=self.labelled)
            features, labels = as_tensors(features), as_tensors(labels)
            examples = count(features, labels)
        if self.batch_size is None:
            self.batch_size = examples
        self._stands_at = at + examples
        return Fed(features, labels, at + examples, examples)

    @contextlib.contextmanager
    def _seeded(self, position: int, salt: int) -> Generator[None]:
        """Seed the global generators from seed and position, while none else may."""
        if not self.repeatable:
            yield
            return
        with GENERATORS_IN_USE:
            seed = derive(self.seed, position, salt)
            np.random.seed(seed & 0xFFFFFFFF)
            random.seed(seed)
            torch.default_generator.manual_seed(seed)
            yield

    def data(self) -> dict[str, Any]:
        """Say what can be known of the data, to tell other data from it; see `fingerprint`."""
        loader = getattr(self.iterable, "dataset", None)
        known: dict[str, Any] = {
            "kind": f"{type(self.iterable).__module__}.{type(self.iterable).__qualname__}",
            "name": getattr(self.function, "__qualname__", None),
            "batches": _length(self.iterable),
            "examples": _length(loader) if loader is not None else None,
            "batch_size": self.batch_size,
        }
        return {name: value for name, value in known.items() if value is not None}

    def manifest(self) -> dict[str, Any]:
        """Say what there is to check the data by: nothing more than `data` does."""
        return self.data()


def _length(value: Any) -> int | None:
    if not isinstance(value, Sized):
        return None
    try:
        return len(value)
    except Exception:  # a loader over an iterable dataset has none
        return None

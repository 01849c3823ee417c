"""An input_fn whose random numbers are those of its batch, whenever and wherever it is called."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sized
from typing import Any

import numpy as np
import torch

from dovetail.program.randomness import derive

_SALT = 3  # steps use none, evaluation 1, prediction 2

# Held while the generators of numpy and random are an input's own: the batches of an evaluation
# are made while a thread makes those of the training that it stands beside.
GENERATORS_IN_USE = threading.RLock()


class SeededInput:
    """Calls an input_fn on one batch after the other, each seeded from (seed, its position).

    The first call seeds torch's generator too, and finds out whether the function draws from it.
    If it does not, later calls leave that generator alone, so that they can be made in a thread
    beside the steps, which draw from it (the generators of numpy and random are the input's own).

    Args:
      function: from a batch of records to what the run is fed.
      seed: of the run.
      position: of the first batch's first example.

    Attributes:
      draws_from_torch: known after the first call.
    """

    def __init__(self, function: Callable[[Any], Any], seed: int, position: int) -> None:
        self.function = function
        self.seed = seed
        self.position = position
        self.draws_from_torch: bool | None = None

    def __call__(self, records: Sized) -> Any:
        with GENERATORS_IN_USE:
            return self._made(records)

    def _made(self, records: Sized) -> Any:
        seed = derive(self.seed, self.position, _SALT)
        self.position += len(records)
        np.random.seed(seed & 0xFFFFFFFF)
        random.seed(seed)
        if self.draws_from_torch is False:
            return self.function(records)
        torch.default_generator.manual_seed(seed)
        before = torch.get_rng_state()
        made = self.function(records)
        if self.draws_from_torch is None:
            self.draws_from_torch = not torch.equal(before, torch.get_rng_state())
        return made

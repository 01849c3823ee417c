"""The random numbers of an input_fn are those of seed and position."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from dovetail.run.seeded_input import SeededInput

DRAWS: dict[str, Any] = {
    "numpy": lambda rows: np.random.rand(2).tolist(),
    "random": lambda rows: random.random(),
    "torch": lambda rows: torch.rand(2).tolist(),
}


@pytest.mark.parametrize("kind", list(DRAWS))
def test_a_batch_draws_the_same_wherever_the_run_began(kind: str):
    whole = SeededInput(DRAWS[kind], 5, 0)
    drawn = [whole([0] * 8) for _ in range(4)]
    assert len({str(one) for one in drawn}) == 4
    again = SeededInput(DRAWS[kind], 5, 16)
    torch.manual_seed(99)
    assert [again([0] * 8) for _ in range(2)] == drawn[2:]
    assert SeededInput(DRAWS[kind], 6, 0)([0] * 8) != drawn[0]
    assert whole.draws_from_torch is (kind == "torch")


def test_the_generator_of_torch_is_left_alone_if_the_first_batch_did_not_use_it():
    seeded = SeededInput(lambda rows: rows, 0, 0)
    seeded([1])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert seeded([1, 2]) == [1, 2]
    assert torch.equal(before, torch.get_rng_state())

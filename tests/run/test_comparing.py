"""Two ends are compared to the bit, and differences said by how much."""

from __future__ import annotations

import torch

from dovetail.run.comparing import compared, values_that_differ
from dovetail.run.tensor_sums import sums


def test_equal_means_every_bit():
    one = {"w": torch.tensor([1.0, float("nan")]), "n": torch.tensor(3)}
    assert compared(1, sums(one), {name: t.clone() for name, t in one.items()}).equal
    zero, minus = {"w": torch.tensor([0.0])}, {"w": torch.tensor([-0.0])}
    found = compared(1, sums(zero), minus, zero)
    assert not found.equal
    assert found.largest == 0.0
    assert found.lines()[1] == "  w: 1 of 1 numbers differ, by 0 at most"


def test_names_shapes_and_dtypes_that_differ_are_said():
    then = {"a": torch.zeros(2), "b": torch.zeros(2), "gone": torch.zeros(1)}
    now = {"a": torch.zeros(3), "b": torch.zeros(2, dtype=torch.float64), "new": torch.zeros(1)}
    found = compared(5, sums(then), now, then)
    assert found.largest is None
    assert found.lines() == [
        "Step 5: 4 of 4 tensors differ.",
        "  a: was float32 [2] and is float32 [3]",
        "  b: was float32 [2] and is float64 [2]",
        "  gone: only in the recorded run",
        "  new: only in the new run",
    ]


def test_without_the_numbers_only_the_names_are_known():
    then, now = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    assert compared(1, sums(then), now).lines()[1] == "  w: its numbers differ"
    assert compared(1, sums(then), now, then).largest == 1.0


def test_only_the_first_ten_are_shown():
    then = {f"w{i}": torch.zeros(1) for i in range(13)}
    now = {f"w{i}": torch.full((1,), float(i + 1)) for i in range(13)}
    lines = compared(1, sums(then), now, then).lines()
    assert lines[0] == "Step 1: 13 of 13 tensors differ, by 13 at most."
    assert len(lines) == 12
    assert lines[-1] == "  and 3 more"


def test_whole_numbers_booleans_and_infinities_have_a_difference():
    then = {"i": torch.tensor([1, 2]), "b": torch.tensor([True]), "f": torch.tensor([1.0])}
    now = {"i": torch.tensor([1, 5]), "b": torch.tensor([False]), "f": torch.tensor([torch.inf])}
    found = {one.name: one.largest for one in compared(1, sums(then), now, then).different}
    assert found == {"i": 3.0, "b": 1.0, "f": torch.inf}


def test_plain_values_that_differ_are_named():
    then = {"step": 1, "betas": (0.9, 0.99), "t": torch.ones(1)}
    assert values_that_differ(then, dict(then)) == []
    assert values_that_differ(then, {**then, "step": 2}) == ["step was 1 and is 2"]

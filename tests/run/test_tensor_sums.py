"""Sums of tensors depend on their numbers, not on how they lie in memory."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from dovetail.run.tensor_sums import sums, total


def test_a_sum_is_that_of_the_numbers_in_row_major_order():
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    expected = hashlib.sha256(np.arange(6, dtype="<f4").tobytes()).hexdigest()
    strided = tensor.t().contiguous().t()
    for one in (tensor, strided, torch.cat([tensor, tensor])[:2], tensor.requires_grad_()):
        assert sums({"w": one}) == {"w": {"dtype": "float32", "shape": [2, 3], "sha256": expected}}


def test_every_dtype_and_no_number_at_all_have_a_sum():
    for dtype in (torch.bfloat16, torch.bool, torch.int64, torch.complex64):
        found = sums({"w": torch.ones(3, dtype=dtype), "step": torch.ones((), dtype=dtype)})
        assert len({one["sha256"] for one in found.values()}) == 2
    assert sums({"none": torch.zeros(0, 4)})["none"]["sha256"] == hashlib.sha256(b"").hexdigest()


def test_the_total_tells_one_flipped_bit_names_shapes_and_zeros_apart():
    base = {"a": torch.zeros(4), "b": torch.ones(2)}
    flipped = torch.zeros(4)
    flipped.view(torch.int32)[2] ^= 1
    others = [
        {**base, "a": flipped},
        {**base, "a": -torch.zeros(4)},
        {**base, "a": torch.zeros(2, 2)},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"]},
    ]
    totals = [total(sums(state)) for state in (base, *others)]
    assert len(set(totals)) == len(totals)
    assert total(sums(dict(reversed(base.items())))) == totals[0]

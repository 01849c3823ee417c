"""A state of an input comes back from JSON as it was, or is refused with its place."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import pytest
import torch

from dovetail.run import held_state
from dovetail.run.held_state import NotHeldError, given_back, held


def through_json(value: Any) -> Any:
    return given_back(json.loads(json.dumps(held(value), allow_nan=False)))


def test_a_state_of_every_kind_comes_back_as_it_was():
    value = {
        "none": None,
        "numbers": [1, 2.5, True, 2**127, -0.0],
        "text": "größe",
        "tuple": (1, ("a", [])),
        "keys": {3: "x", (1, 2): "y", "@tuple": "z", "$float": 1},
        "bytes": b"\x00\xff",
        "infinite": math.inf,
        "empty": {},
    }
    back = through_json(value)
    assert back == value
    assert [type(item) for item in back["numbers"]] == [int, float, bool, int, float]
    assert math.isnan(through_json(math.nan))


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.uint8],
)
def test_tensors_come_back_bit_for_bit(dtype: torch.dtype):
    tensor = (torch.arange(6) % 5).to(dtype).reshape(2, 3).t()
    back = through_json({"t": tensor})["t"]
    assert back.dtype == dtype
    assert torch.equal(back, tensor)
    assert through_json(torch.zeros(0, 2)).shape == (0, 2)
    assert through_json(torch.tensor(3)).shape == ()


def test_arrays_come_back_with_their_dtype_and_can_be_written_to():
    for array in (np.arange(4, dtype=">i2"), np.array(["a", "bc"]), np.zeros((2, 0))):
        back = through_json(array)
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)
    back = through_json(np.zeros(3))
    back[0] = 1
    assert type(through_json(np.float32(0.1))) is np.float32


def test_the_states_of_all_generators_are_held():
    torch_state = torch.Generator().manual_seed(3).get_state()
    assert torch.equal(through_json(torch_state), torch_state)
    random.setstate(through_json(random.getstate()))
    for kind in (np.random.PCG64, np.random.MT19937):
        generator = np.random.Generator(kind(7))
        state = through_json(generator.bit_generator.state)
        expected = generator.random(3)
        generator.bit_generator.state = state
        assert np.array_equal(generator.random(3), expected)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [1, object()]}, r"the state\['a'\]\[1\] is a builtins.object"),
        ({"f": len}, r"the state\['f'\] is a builtins.builtin_function"),
        (np.array([{}]), "an array of object"),
        (torch.zeros(2).to_sparse(), "not dense"),
        ({object: 1}, "a key of the state is a builtins.type"),
        ({1, 2}, "is a builtins.set"),
    ],
)
def test_what_can_not_be_held_is_named_with_its_place(value: Any, said: str):
    with pytest.raises(NotHeldError, match=said):
        held(value)


def test_a_state_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(held_state, "LARGEST", 1 << 20)
    held(np.zeros(1 << 20, np.uint8))
    with pytest.raises(NotHeldError, match=r"larger than 1 MiB \(at the state\['buffer'\]\)"):
        held({"buffer": np.zeros((1 << 20) + 1, np.uint8)})

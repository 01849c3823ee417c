"""Keras draws from torch's global generator, and counts from the start, for a program alone."""

from __future__ import annotations

from typing import Any

import keras
import torch

from dovetail.layers.keras.random import drawn_seed, follow_torch, fresh_keras, take_generators


def test_seeds_are_a_function_of_torch_s_generator() -> None:
    torch.manual_seed(1)
    first = [drawn_seed() for _ in range(2)]
    torch.manual_seed(1)
    assert torch.equal(drawn_seed(), first[0])
    assert not torch.equal(first[0], first[1])


def test_generators_of_all_layers_follow() -> None:
    model: Any = keras.Sequential(
        [keras.layers.GaussianNoise(1.0), keras.layers.Dropout(0.5, seed=1)]
    )
    take_generators(model)
    draws = []
    for _ in range(2):
        torch.manual_seed(2)
        draws.append([model(torch.ones(2, 50), training=True) for _ in range(2)])
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[0][1])


def test_functions_without_a_seed_follow() -> None:
    with fresh_keras():
        follow_torch()
        torch.manual_seed(3)
        first = keras.random.normal((3,))
        torch.manual_seed(3)
        assert torch.equal(torch.as_tensor(keras.random.normal((3,))), torch.as_tensor(first))


def test_a_block_numbers_from_the_start_and_leaves_no_trace() -> None:
    keras.utils.set_random_seed(5)
    keras.layers.Dense(1)
    before = keras.layers.Dense(1).name
    with fresh_keras():
        assert [keras.layers.Dense(1).name for _ in range(2)] == ["dense", "dense_1"]
    number = int(before.rpartition("_")[2])
    assert keras.layers.Dense(1).name == f"dense_{number + 1}"
    draws = []
    for within in (False, True):
        keras.utils.set_random_seed(5)
        keras.random.normal((3,))
        if within:
            with fresh_keras():
                keras.random.normal((3,))
        draws.append(torch.as_tensor(keras.random.normal((3,))))
    assert torch.equal(*draws)

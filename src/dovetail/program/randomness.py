"""Randomness from (seed, step, part), never from a generator's history."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from dovetail.layers.keras.random import follow_torch, fresh_keras

_MASK = (1 << 64) - 1


def derive(*numbers: int) -> int:
    """Mix whole numbers into a seed of 63 bits (the finalizer of SplitMix64, once per number).

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

    >>> derive(0, 1, 0) != derive(0, 0, 1)
    True
    """
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state + number * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def seed_generators(device: torch.device, *numbers: int) -> None:
    """Seed torch's generators of the CPU and of `device` from whole numbers.

    Each generator is seeded directly: torch.manual_seed costs a hundred times as much.
    """
    seed = derive(*numbers)
    torch.default_generator.manual_seed(seed)
    if "keras" in sys.modules:
        follow_torch()
    if device.type == "cuda":
        index = device.index if device.index is not None else torch.cuda.current_device()
        torch.cuda.default_generators[index].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Put the global generators of torch (CPU), numpy and random back on leaving."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with all global generators seeded, and put them back afterwards.

    Keras, if it is loaded, begins anew inside the block: it numbers layers from the start.
    """
    with kept_generators():
        torch.manual_seed(seed)
        np.random.seed(seed % (1 << 32))
        random.seed(seed)
        with fresh_keras():
            yield

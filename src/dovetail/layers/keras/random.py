"""Keras' randomness and its numbering of names, made the program's.

Keras numbers layers per process and draws from seed generators that remember how often they were
asked. A program's names must be the same each time it is made, and its random numbers a function of
(seed, step, part), whatever ran before.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_GENERATOR = "global_seed_generator"
_NAMES = "object_name_uids"


def drawn_seed(ordered: bool = True) -> Tensor:
    """Stand in for `SeedGenerator.next`: a seed from torch's global generator of the CPU.

    A program seeds that generator for each part of each step. Nothing is kept from call to call,
    and activation checkpointing, which puts torch's generators back, finds the same numbers again.

    Args:
      ordered: as Keras passes it; it makes no difference here.

    Returns:
      Two whole numbers, on the CPU: nothing waits for an accelerator.
    """
    return torch.randint(1 << 31, (2,), dtype=torch.int64, device="cpu")


def take_generators(layer: Any) -> None:
    """Let the seed generators of a Keras layer, and of all within it, draw from torch's."""
    for part in layer._flatten_layers():
        for generator in part._seed_generators:
            generator.next = drawn_seed


def follow_torch() -> None:
    """Let `keras.random` functions that are given no seed draw from torch's global generator.

    Nothing is done where Keras is not loaded, or on another backend.
    """
    state = _global_state()
    if state is None or _follows(state.get_global_attribute(_GENERATOR)):
        return
    if _on_torch():
        state.set_global_attribute(_GENERATOR, _following_generator())


@contextmanager
def fresh_keras() -> Iterator[None]:
    """Let Keras begin anew inside the block, as in a new process, and put it back afterwards.

    Layers are numbered from the start, weights are drawn on the CPU, so that every device starts
    alike, and random numbers follow torch's global generator. Nothing is done where Keras is not
    loaded.
    """
    state = _global_state()
    if state is None or not _on_torch():
        yield
        return
    kept = {name: state.get_global_attribute(name) for name in (_GENERATOR, _NAMES)}
    state.set_global_attribute(_NAMES, defaultdict(int))
    follow_torch()
    try:
        with sys.modules["keras"].device("cpu"):
            yield
    finally:
        for name, value in kept.items():
            state.set_global_attribute(name, value)


def _global_state() -> Any:
    if sys.modules.get("keras") is None:
        return None
    # The one place where Keras keeps both; it has no public name.
    return sys.modules.get("keras.src.backend.common.global_state")


def _on_torch() -> bool:
    return sys.modules["keras"].backend.backend() == "torch"


def _follows(generator: Any) -> bool:
    return getattr(generator, "next", None) is drawn_seed


def _following_generator() -> Any:
    keras: Any = sys.modules["keras"]
    with keras.device("cpu"):
        # With a seed and a name, so that neither Python's generator nor the numbering is touched.
        generator = keras.random.SeedGenerator(0, name="torch")
    generator.next = drawn_seed
    return generator

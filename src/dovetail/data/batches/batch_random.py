"""Random numbers that belong to a batch: pure functions of the seed and of which batch it is."""

from __future__ import annotations

import numpy as np

from dovetail.data.example_random import STREAM, example_seeds, generator

_SALT = 0x2545F4914F6CDD1D  # so that a batch's numbers have nothing to do with those of its items
_CHANCES = 7 * STREAM


def batch_generator(seed: int, iteration: int, salt: int = 0) -> np.random.Generator:
    """Make a NumPy generator for one batch.

    Args:
      seed: of the run.
      iteration: which batch it is, from 0 on.
      salt: tells several generators of one batch apart.

    >>> batch_generator(0, 3).random() == batch_generator(0, 3).random()
    True
    """
    return generator(_seed(seed, iteration), salt)


def chance(seed: int, iteration: int, number: int) -> float:
    """Draw the number, in [0, 1), by which the `number`-th choice of a batch is made.

    >>> 0 <= chance(0, 3, 0) < 1 and chance(0, 3, 0) != chance(0, 3, 1)
    True
    """
    return float(generator(_seed(seed, iteration), _CHANCES + number).random())


def _seed(seed: int, iteration: int) -> int:
    return int(example_seeds(seed ^ _SALT, 0, np.array([iteration]))[0])

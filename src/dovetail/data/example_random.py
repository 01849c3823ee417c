"""Random numbers that belong to an example: pure functions of a seed for each example.

The numbers of an example are SplitMix64's stream (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014) from a state mixed of its seed and of which draw it
is. No generator is kept, so they depend on nothing else: not on the batch that the example came
in, nor on what was drawn before. Arrays and tensors are computed by the same lines of int64
arithmetic, which wraps alike on every device, so that both give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dovetail.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    Seeds = TypeVar("Seeds", np.ndarray, Tensor)

STREAM = 1 << 32
"""How far apart the draws of different uses lie: those of `Rows`, of each augmentation."""

_GOLDEN = 0x9E3779B97F4A7C15
_LOW_64 = (1 << 64) - 1
_SALT = 0x5851F42D4C957F2D  # so that seeds have nothing to do with the order of examples


def example_seeds(seed: int, epoch: int | np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Give each example its seed for an epoch.

    Args:
      seed: of the run; any integer (its low 64 bits count).
      epoch: which epoch; one number, or one for each row.
      rows: int [n], the numbers by which the examples are stored.

    Returns:
      int64 [n].

    >>> one, other = (example_seeds(0, epoch, np.arange(3)) for epoch in (0, 1))
    >>> bool((one != other).all())
    True
    """
    state = _mix(np.array([_signed(seed ^ _SALT)], np.int64))
    epochs = np.asarray(epoch).astype(np.int64).reshape(-1)
    state = _mix(state + (epochs + 1) * _signed(_GOLDEN))
    return _mix(state + (np.asarray(rows).astype(np.int64) + 1) * _signed(_GOLDEN))


def uniform(
    seeds: Seeds,
    low: float = 0.0,
    high: float = 1.0,
    shape: Sequence[int] = (),
    *,
    draw: int = 0,
) -> Seeds:
    """Draw numbers for each example, every number between two bounds as likely.

    Args:
      seeds: int64 [n], one for each example: an array, or a tensor on any device.
      low, high: the bounds; `high` itself comes only where rounding gives it.
      shape: of the numbers of one example.
      draw: which draw it is, 0 to 2**32 - 1: two draws of one number are the same, two of
        different numbers are unrelated.

    Returns:
      float32 [n, *shape], an array or tensor as `seeds` is, with the same values.

    Raises:
      DataError: if the seeds are not int64 [n], or low is above high.

    >>> seeds = example_seeds(0, 0, np.arange(2))
    >>> uniform(seeds, -1, 1, (3,)).shape
    (2, 3)
    """
    if low > high:
        raise DataError(f"uniform takes bounds with low <= high; got {low} and {high}.")
    bits: Any = (_bits(seeds, shape, draw) >> 40) & 0xFFFFFF
    numbers: Any = bits.astype(np.float32) if isinstance(bits, np.ndarray) else bits.float()
    # 24 bits, all that a float32 between 0 and 1 holds at one spacing: this product is exact.
    return numbers * 2.0**-24 * float(high - low) + float(low)


def integers(
    seeds: Seeds, low: int, high: int, shape: Sequence[int] = (), *, draw: int = 0
) -> Seeds:
    """Draw whole numbers for each example, from `low` to `high - 1`, each as likely.

    Args:
      seeds, shape, draw: as for `uniform`.
      low, high: the bounds; there is at least one number between them.

    Returns:
      int64 [n, *shape]. Of h numbers, some are likelier than others by h / 2**63, relatively.

    Raises:
      DataError: if the seeds are not int64 [n], or there is no number between the bounds.

    >>> integers(example_seeds(0, 0, np.arange(4)), 0, 2).max() < 2
    np.True_
    """
    if low >= high:
        raise DataError(f"integers takes bounds with low < high; got {low} and {high}.")
    bits: Any = _bits(seeds, shape, draw) & ((1 << 63) - 1)
    return bits % (high - low) + low


def generator(seed: int, draw: int) -> np.random.Generator:
    """Make a NumPy generator for one example, for what no other function here draws.

    Args:
      seed: one of `example_seeds`.
      draw: which draw it is.

    >>> generator(3, 0).random() == generator(3, 0).random() != generator(3, 1).random()
    True
    """
    key = np.array([seed & _LOW_64, draw & _LOW_64], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def _bits(seeds: Any, shape: Sequence[int], draw: int) -> Any:
    """Give 64 random bits for each number, as int64 [n, *shape]."""
    is_array = isinstance(seeds, np.ndarray)
    if len(getattr(seeds, "shape", ())) != 1 or str(seeds.dtype) not in ("int64", "torch.int64"):
        raise DataError(
            "Seeds of examples are int64 [n], such as records.seeds in an input_fn; got "
            f"{type(seeds).__name__} {getattr(seeds, 'dtype', '')} "
            f"{list(getattr(seeds, 'shape', ()))}."
        )
    count = math.prod(shape)
    if is_array:
        steps: Any = np.arange(1, count + 1)
    else:
        import torch  # not at the top: what only prepares records does without it

        steps = torch.arange(1, count + 1, device=seeds.device)
    state = _mix(seeds + _signed((draw + 1) * _GOLDEN))
    return _mix(state[:, None] + steps * _signed(_GOLDEN)).reshape(len(seeds), *shape)


def _mix(values: Any) -> Any:
    """Scramble int64 numbers: SplitMix64's finaliser. Shifts of int64 copy the sign: cut it off."""
    values = (values ^ ((values >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    values = (values ^ ((values >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return values ^ ((values >> 31) & 0x1FFFFFFFF)


def _signed(number: int) -> int:
    """Give the int64 that has the low 64 bits of a whole number."""
    number &= _LOW_64
    return number - (1 << 64) if number >> 63 else number

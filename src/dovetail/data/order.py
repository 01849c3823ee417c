"""Which example comes when: a pure function of seed, epoch and position.

The order of an epoch is a keyed permutation, computed for any positions alone in constant time
and memory: a Feistel network over the smallest power of two that holds the length, walked along
its cycles until it falls within the length (Black and Rogaway, "Ciphers with Arbitrary Finite
Domains", 2002). Its rounds mix with the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
NumPy's streams are not promised to stay as they are; this is.
"""

from __future__ import annotations

import numpy as np

from dovetail.errors import DataError

_ROUNDS = 6
_LEAST_BITS = 7  # a few examples in a smaller network come in some orders too often
_GOLDEN = 0x9E3779B97F4A7C15
_LOW_64 = (1 << 64) - 1


def permuted(seed: int, epoch: int | np.ndarray, length: int, positions: np.ndarray) -> np.ndarray:
    """Give the examples at some positions of a shuffled epoch.

    Args:
      seed: which orders; any integer (its low 64 bits count).
      epoch: which epoch; one number, or one for each position.
      length: how many examples there are, below 2**62.
      positions: int [n], positions within the epoch, 0 to length - 1.

    Returns:
      int64 [n], the examples there; over all positions of an epoch each example once.

    >>> permuted(0, 0, 5, np.arange(5)).tolist()
    [0, 4, 1, 3, 2]
    """
    assert 0 < length < 1 << 62
    bits = max((length - 1).bit_length(), _LEAST_BITS)
    low = bits // 2
    # The two halves, of low and bits - low bits, take turns: each is changed by the other.
    masks = [np.uint64((1 << low) - 1), np.uint64((1 << (bits - low)) - 1)]
    keys = _keys(seed, np.atleast_1d(np.asarray(epoch)).astype(np.uint64))
    values = np.asarray(positions).astype(np.uint64)
    pending: np.ndarray | slice = slice(None)
    moving = values
    while True:
        halves = [moving & masks[0], moving >> np.uint64(low)]
        for turn, key in enumerate(keys):
            changed = turn % 2
            mixed = _mix(halves[1 - changed] ^ key)
            mixed >>= np.uint64(20)
            mixed &= masks[changed]
            halves[changed] ^= mixed
        moved = halves[0] | (halves[1] << np.uint64(low))
        values[pending] = moved
        outside = np.flatnonzero(moved >= length)
        if not len(outside):
            return values.astype(np.int64)
        pending = outside if isinstance(pending, slice) else pending[outside]
        moving = moved[outside]
        keys = [key if len(key) == 1 else key[outside] for key in keys]


def batch_indices(
    seed: int, length: int, start: int, count: int, shuffle: bool = True
) -> np.ndarray:
    """Give the examples from one position of a run on; epochs follow one another.

    Args:
      seed: which orders.
      length: how many examples an epoch has.
      start: the first position, in examples since the run's beginning.
      count: how many positions.
      shuffle: whether each epoch has an order of its own; else it is the stored one.

    Returns:
      int64 [count].

    Raises:
      DataError: if there is no example at all.

    >>> batch_indices(0, 3, 2, 5, shuffle=False).tolist()
    [2, 0, 1, 2, 0]
    """
    if length < 1:
        raise DataError("The data set is empty: it holds no example to make a batch of.")
    epochs, positions = np.divmod(np.arange(start, start + count, dtype=np.int64), length)
    if not shuffle:
        return positions
    one = len(epochs) == 0 or epochs[0] == epochs[-1]
    return permuted(seed, epochs[:1] if one else epochs, length, positions)


def share(count: int, worker: int, workers: int) -> tuple[int, int]:
    """Say which examples of a global batch one of several workers has.

    The shares lie in the order of the workers and are nearly equal, the larger ones first, as the
    parts are into which a program cuts a batch. In a batch of fewer examples than workers, the
    last workers have none.

    Args:
      count: examples in the batch of all workers together.
      worker: which worker, 0 to workers - 1.
      workers: how many there are.

    Returns:
      begin, end: the worker's examples are those from `begin` to `end - 1` of the batch.

    Raises:
      DataError: if there is no such worker.

    >>> [share(7, worker, 3) for worker in range(3)]
    [(0, 3), (3, 5), (5, 7)]
    """
    if not 0 <= worker < workers:
        raise DataError(
            f"Workers are numbered 0 to workers - 1; got worker {worker} of {workers} workers."
        )
    each, more = divmod(count, workers)
    begin = worker * each + min(worker, more)
    return begin, begin + each + (worker < more)


def _keys(seed: int, epoch: np.ndarray) -> list[np.ndarray]:
    """One key a round, for each epoch: SplitMix64's stream from a mixture of seed and epoch."""
    state = _mix(_mix(np.array([seed & _LOW_64], np.uint64)) ^ (epoch * np.uint64(_GOLDEN)))
    return [_mix(state + np.uint64(_GOLDEN * turn & _LOW_64)) for turn in range(1, _ROUNDS + 1)]


def _mix(values: np.ndarray) -> np.ndarray:
    mixed = values ^ (values >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed

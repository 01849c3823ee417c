"""Whether two runs ended with the same parameters, bit for bit, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dovetail.run.tensor_sums import sums

_SHOWN = 10


@dataclass(frozen=True)
class TensorDifference:
    """A tensor that is not the same in both runs.

    Attributes:
      name: of the parameter or buffer.
      what: how it differs.
      largest: the largest difference of two numbers, where both are at hand; None elsewhere.
    """

    name: str
    what: str
    largest: float | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


@dataclass(frozen=True)
class Comparison:
    """How the ends of two runs compare.

    Attributes:
      step: the step both were brought to.
      compared: how many tensors.
      different: those that are not equal bit for bit, in the order of the first run.
    """

    step: int
    compared: int
    different: tuple[TensorDifference, ...]

    @property
    def equal(self) -> bool:
        """Whether every bit is the same."""
        return not self.different

    @property
    def largest(self) -> float | None:
        """The largest difference of all, where the numbers of both runs are at hand."""
        known = [one.largest for one in self.different if one.largest is not None]
        return max(known, default=None)

    def lines(self) -> list[str]:
        """Say it in lines: the result, then the first that differ."""
        if self.equal:
            return [f"Step {self.step}: all {self.compared} tensors are equal, bit for bit."]
        by = "" if self.largest is None else f", by {self.largest:.3g} at most"
        said = [f"Step {self.step}: {len(self.different)} of {self.compared} tensors differ{by}."]
        said += [f"  {one}" for one in self.different[:_SHOWN]]
        more = len(self.different) - _SHOWN
        return said if more <= 0 else [*said, f"  and {more} more"]


def compared(
    step: int,
    then: Mapping[str, Mapping[str, Any]],
    now: Mapping[str, Tensor],
    numbers: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare tensors with the sums of those of an earlier run.

    Args:
      step: that both are of.
      then: dtype, shape and SHA-256 of each, as `tensor_sums.sums` gives.
      now: the tensors.
      numbers: those of the earlier run, where they are at hand, to say by how much they differ.

    >>> from dovetail.run.tensor_sums import sums
    >>> one, other = {"w": torch.zeros(2)}, {"w": torch.tensor([0.0, 0.5])}
    >>> compared(3, sums(one), other, one).lines()
    ['Step 3: 1 of 1 tensors differ, by 0.5 at most.', '  w: 1 of 2 numbers differ, by 0.5 at most']
    """
    found = sums(now)
    names = list(dict.fromkeys((*then, *found)))
    different = [
        _different(name, then.get(name), found.get(name), now.get(name), (numbers or {}).get(name))
        for name in names
        if name not in then or name not in found or dict(then[name]) != found[name]
    ]
    return Comparison(step, len(names), tuple(different))


def _different(
    name: str,
    then: Mapping[str, Any] | None,
    now: Mapping[str, Any] | None,
    tensor: Tensor | None,
    number: Any,
) -> TensorDifference:
    if then is None or now is None:
        return TensorDifference(name, f"only in the {'new' if then is None else 'recorded'} run")
    if (then["dtype"], list(then["shape"])) != (now["dtype"], now["shape"]):
        was, is_ = (f"{one['dtype']} {list(one['shape'])}" for one in (then, now))
        return TensorDifference(name, f"was {was} and is {is_}")
    if not isinstance(number, Tensor) or tensor is None or number.shape != tensor.shape:
        return TensorDifference(name, "its numbers differ")
    one, other = (t.detach().cpu().reshape(-1) for t in (number, tensor))
    unlike = (_bits(one) != _bits(other)).any(1)
    if not unlike.any():
        return TensorDifference(name, "the recorded sum is not that of the checkpoint's numbers")
    one, other = one[unlike], other[unlike]
    if not one.is_complex():
        one, other = one.double(), other.double()
    largest = float((other - one).abs().nan_to_num(nan=torch.inf, posinf=torch.inf).max())
    what = f"{len(one)} of {len(unlike)} numbers differ, by {largest:.3g} at most"
    return TensorDifference(name, what, largest)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(torch.uint8).reshape(tensor.numel(), -1)


def values_that_differ(then: Mapping[str, Any], now: Mapping[str, Any]) -> Sequence[str]:
    """Name the plain values, such as an optimizer's steps, that two checkpoints do not share.

    >>> values_that_differ({"step": 1, "w": torch.ones(1)}, {"step": 2, "w": torch.ones(1)})
    ['step was 1 and is 2']
    """
    names = [name for name in {**then, **now} if not _tensor(name, then, now)]
    return [
        f"{name} was {then.get(name)} and is {now.get(name)}"
        for name in names
        if then.get(name) != now.get(name)
    ]


def _tensor(name: str, *states: Mapping[str, Any]) -> bool:
    return any(isinstance(state.get(name), Tensor) for state in states)

"""Checksums of tensors in one canonical form, so that two runs can be compared without either."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def sums(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Return dtype, shape and SHA-256 of each tensor.

    Args:
      tensors: by name, on any device. The sum is of the numbers' bytes in row-major order, the
        least significant byte first, whatever strides and byte order the tensor has.

    >>> one = torch.ones(2, 3)
    >>> sums({"w": one})["w"]["sha256"] == sums({"w": one.t().contiguous().t()})["w"]["sha256"]
    True
    """
    return {
        name: {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "sha256": _sum(tensor),
        }
        for name, tensor in tensors.items()
    }


def total(summed: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one SHA-256 for all tensors: of the lines "name dtype shape sum", by name.

    >>> total({}) == hashlib.sha256(b"").hexdigest()
    True
    """
    lines = [
        f"{name} {one['dtype']} {list(one['shape'])} {one['sha256']}\n"
        for name, one in sorted(summed.items())
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sum(tensor: Tensor) -> str:
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if not plain.numel():
        return hashlib.sha256(b"").hexdigest()
    numbers = plain.view(torch.uint8).numpy()
    if sys.byteorder == "big":
        numbers = numbers.reshape(-1, tensor.element_size())[:, ::-1]
    return hashlib.sha256(np.ascontiguousarray(numbers).data).hexdigest()

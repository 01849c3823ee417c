"""What an input says of its position, as plain JSON: no pickle, and nothing lost.

JSON has no tuples, bytes, arrays or keys that are numbers; each is an object with one key that
begins with "@", such as `{"@tuple": [1, 2]}`. Arrays and tensors are held by their bytes.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

LARGEST = 1 << 24
"""Bytes of arrays and text that one state may hold: it is written with every checkpoint."""


class NotHeldError(TypeError):
    """A state holds what a checkpoint can't, or too much of it."""


def held(value: object) -> Any:
    """Return a state as JSON holds it.

    Args:
      value: numbers, text, bytes, arrays, tensors, and lists, tuples and dicts of them.

    Raises:
      NotHeldError: something in it is of another kind, named with its place, or it is too large.

    >>> held({"epoch": 1, "rng": (3, b"ab")})
    {'epoch': 1, 'rng': {'@tuple': [3, {'@bytes': 'YWI='}]}}
    """
    return _Holding().hold(value, "the state")


def given_back(value: Any) -> Any:
    """Return what `held` was given.

    >>> given_back(held({"rng": (3, b"ab"), 7: np.float32(0.5)}))
    {'rng': (3, b'ab'), 7: np.float32(0.5)}
    """
    if isinstance(value, list):
        return [given_back(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    tag = next(iter(value), "")
    if not tag.startswith("@"):
        return {key: given_back(item) for key, item in value.items()}
    content = value[tag]
    if tag == "@tuple":
        return tuple(given_back(item) for item in content)
    if tag == "@dict":
        return {given_back(key): given_back(item) for key, item in content}
    if tag == "@float":
        return float(content)
    if tag == "@bytes":
        return base64.b64decode(content)
    array = np.frombuffer(base64.b64decode(content["bytes"]), np.dtype(content["dtype"]))
    array = array.reshape(content["shape"])
    if tag == "@array":
        return array.copy() if content["shape"] else array[()]
    assert tag == "@tensor", tag
    tensor = torch.from_numpy(array.copy())
    kind = content.get("as")
    return tensor if kind is None else tensor.view(getattr(torch, kind))


class _Holding:
    """Turns one state into JSON, and counts what it takes."""

    def __init__(self) -> None:
        self.bytes = 0

    def hold(self, value: object, where: str) -> Any:
        if value is None or type(value) in (bool, int):
            return value
        if type(value) is str:
            self._add(len(value), where)
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"@float": repr(value)}
        if isinstance(value, (bytes, bytearray)):
            return {"@bytes": self._text(bytes(value), where)}
        if isinstance(value, torch.Tensor):
            return {"@tensor": self._tensor(value, where)}
        if isinstance(value, (np.ndarray, np.generic)):
            return {"@array": self._array(np.asarray(value), where)}
        if type(value) is list:
            return [self.hold(item, f"{where}[{at}]") for at, item in enumerate(value)]
        if type(value) is tuple:
            return {"@tuple": [self.hold(item, f"{where}[{at}]") for at, item in enumerate(value)]}
        if isinstance(value, Mapping):
            return self._mapping(value, where)
        raise NotHeldError(f"{where} is a {type(value).__module__}.{type(value).__qualname__}")

    def _mapping(self, value: Mapping[Any, object], where: str) -> dict[str, Any]:
        items = [(key, self.hold(item, f"{where}[{key!r}]")) for key, item in value.items()]
        if all(type(key) is str and not key.startswith(("@", "$")) for key, _ in items):
            return dict(items)
        return {"@dict": [[self.hold(key, f"a key of {where}"), item] for key, item in items]}

    def _tensor(self, tensor: torch.Tensor, where: str) -> dict[str, Any]:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
            raise NotHeldError(f"{where} is a tensor that is not dense, or has no data")
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        try:
            return self._array(plain.numpy(), where)
        except TypeError:  # numpy has no such dtype: the bytes of each number along the last axis
            kind = str(plain.dtype).removeprefix("torch.")
            if not plain.dim():
                raise NotHeldError(f"{where} is a single number of {kind}") from None
            return {**self._array(plain.view(torch.uint8).numpy(), where), "as": kind}

    def _array(self, array: np.ndarray, where: str) -> dict[str, Any]:
        if array.dtype.hasobject or array.dtype.kind == "V":
            raise NotHeldError(f"{where} is an array of {array.dtype}")
        text = self._text(np.ascontiguousarray(array).tobytes(), where)
        return {"dtype": array.dtype.str, "shape": list(array.shape), "bytes": text}

    def _text(self, content: bytes, where: str) -> str:
        self._add(len(content), where)
        return base64.b64encode(content).decode("ascii")

    def _add(self, count: int, where: str) -> None:
        self.bytes += count
        if self.bytes > LARGEST:
            raise NotHeldError(f"it is larger than {LARGEST >> 20} MiB (at {where})")

"""Named tensors and plain values, made fit for safetensors and JSON, and back.

safetensors takes neither two names of one memory nor tensors that are not contiguous, so a tied
tensor is stored under its first name with the others as aliases, and strides are noted. JSON has
no tuples, no infinities and no tensors: they are written as `{"$tuple": [...]}`,
`{"$float": "inf"}` and `{"$tensor": "name in optimizer.safetensors"}`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Container, Mapping
from typing import cast

import torch

from dovetail.errors import CheckpointError, a_kind
from dovetail.run.tensor_file import DTYPES


@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
    """Tensors ready to be written: on the CPU, contiguous, each memory once.

    Attributes:
      tensors: by canonical name.
      names: every name in the order given, aliases included.
      aliases: from a tied tensor's other names to the canonical one.
      strides: in elements, of those that were not contiguous.
    """

    tensors: dict[str, torch.Tensor]
    names: list[str]
    aliases: dict[str, str]
    strides: dict[str, list[int]]

    @property
    def size(self) -> int:
        """Bytes of the tensors, without the file's header."""
        return sum(t.numel() * t.element_size() for t in self.tensors.values())


def pack(
    tensors: Mapping[str, torch.Tensor],
    kept: dict[str, torch.Tensor] | None = None,
    later: list[tuple[torch.Tensor, torch.Tensor]] | None = None,
    at_once: Container[str] = (),
) -> Packed:
    """Make tensors fit for safetensors.

    Args:
      tensors: by name, on any device, of any strides, tied or not.
      kept: buffers kept between calls; with it every tensor is copied into its buffer (made at
        the first call), so the originals may change at once. Without it a contiguous CPU tensor
        is taken as it is, and must not change before it has been written.
      later: with `kept`, gets the pairs (buffer, tensor) that are still to be copied, by whoever
        gave the list; without it they are copied here.
      at_once: the names of those that are copied here all the same.

    Returns:
      The packed tensors.

    Raises:
      CheckpointError: a tensor is sparse, without data, or of a dtype safetensors does not know.

    Example:

    >>> packed = pack({"a": torch.ones(2, 3).t(), "b": torch.ones(())})
    >>> packed.names, packed.strides
    (['a', 'b'], {'a': [1, 3]})
    """
    packed = Packed({}, list(tensors), {}, {})
    seen: dict[object, str] = {}
    storages: set[int] = set()
    for name, given in tensors.items():
        _refuse_unknown(name, given)
        tensor = given.detach()
        # Tensors without elements all have the same address and share nothing.
        identity = _identity(tensor) if tensor.numel() else name
        if identity in seen:
            packed.aliases[name] = seen[identity]
            continue
        seen[identity] = name
        if not tensor.is_contiguous() and _restorable(tensor):
            packed.strides[name] = list(tensor.stride())
        if kept is not None:
            buffer = kept.get(name)
            if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
                pin = tensor.device.type == "cuda"
                buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pin)
                kept[name] = buffer
            ready = buffer
            if later is None or (name in at_once and tensor.device.type != "cuda"):
                ready.copy_(tensor)
            else:
                # A copy on the device stands in the queue before what may change the tensor next,
                # and nobody waits for it.
                later.append((buffer, tensor.clone() if name in at_once else tensor))
        else:
            ready = tensor.cpu().resolve_conj().resolve_neg().contiguous()
            storage = ready.untyped_storage().data_ptr()
            if storage in storages:  # another part of the same memory: written as its own
                ready = ready.clone()
            storages.add(storage)
        packed.tensors[name] = ready
    return packed


def unpack(
    stored: Mapping[str, torch.Tensor],
    names: list[str],
    aliases: Mapping[str, str],
    strides: Mapping[str, list[int]],
) -> dict[str, torch.Tensor]:
    """Return tensors of their own memory, in the order, ties and strides they were saved with.

    >>> packed = pack({"a": torch.ones(2, 3).t()})
    >>> unpack(packed.tensors, packed.names, packed.aliases, packed.strides)["a"].stride()
    (1, 3)
    """
    made: dict[str, torch.Tensor] = {}
    for name in names:
        if name in aliases:
            made[name] = made[aliases[name]]
            continue
        tensor = stored[name]
        if name in strides:
            laid = torch.empty_strided(tensor.shape, strides[name], dtype=tensor.dtype)
            made[name] = laid.copy_(tensor)
        else:
            made[name] = tensor.clone()  # what is read may be a mapping of the file
    return made


def encode(key: str, value: object, tensors: dict[str, torch.Tensor]) -> object:
    """Turn a plain value into JSON; tensors inside are put into `tensors` and named.

    Args:
      key: where the value is, for names and messages.
      value: None, bool, int, float, str, a tensor, or lists, tuples, dicts of them.
      tensors: gets the tensors.

    Raises:
      CheckpointError: the value is of another type.

    Example:

    >>> encode("betas", (0.9, float("inf"), None), {})
    {'$tuple': [0.9, {'$float': 'inf'}, None]}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, torch.Tensor):
        tensors[key] = value
        return {"$tensor": key}
    if isinstance(value, (list, tuple)):
        items = [encode(f"{key}.{i}", item, tensors) for i, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str) or name.startswith("$"):
                raise CheckpointError(
                    f"{key} has the key {name!r}: a checkpoint holds dicts with text as keys "
                    "that do not begin with '$'."
                )
        return {name: encode(f"{key}.{name}", item, tensors) for name, item in value.items()}
    item = getattr(value, "item", None)  # a NumPy number
    if callable(item) and getattr(value, "shape", None) == ():
        return encode(key, item(), tensors)
    raise CheckpointError(
        f"{key} is {a_kind(value)}, which a checkpoint cannot hold. It holds tensors, "
        "numbers, text, None, and lists, tuples and dicts of them: store it as one of these."
    )


def decode(value: object, tensors: Mapping[str, torch.Tensor]) -> object:
    """Turn what `encode` made into the value it was made from.

    >>> decode({"$tuple": [0.9, {"$float": "inf"}, None]}, {})
    (0.9, inf, None)
    """
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$float" in value:
        return float(value["$float"])
    if "$tuple" in value:
        return tuple(decode(item, tensors) for item in cast(list[object], value["$tuple"]))
    return {name: decode(item, tensors) for name, item in value.items()}


def _identity(tensor: torch.Tensor) -> object:
    view = tensor.dtype, tensor.shape, tensor.stride(), tensor.is_conj(), tensor.is_neg()
    return tensor.device, tensor.data_ptr(), view


def _refuse_unknown(name: str, tensor: torch.Tensor) -> None:
    if tensor.is_meta:
        fault = "is on the meta device and has no data; move it to a real device"
    elif tensor.layout != torch.strided:
        fault = f"is sparse ({tensor.layout}); make it dense with .to_dense()"
    elif tensor.dtype not in DTYPES:
        dtype = str(tensor.dtype).removeprefix("torch.")
        fault = f"has dtype {dtype}, which safetensors does not know; use another dtype"
    else:
        return
    raise CheckpointError(f"Tensor {name!r} cannot be saved: it {fault}.")


def _restorable(tensor: torch.Tensor) -> bool:
    """Whether no two elements lie at one place (an expanded tensor's do), so it can be filled."""
    reach = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride < reach:
                return False
            reach += stride * (size - 1)
    return True

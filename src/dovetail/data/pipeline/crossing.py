"""Values on their way to another process and back: pickled, with arrays in shared memory."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
import types
from collections.abc import Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

_LEAST = 1 << 12  # bytes of an array below which it goes along with the rest
_LEAST_IN_MEMORY = 1 << 15  # and of all arrays together
_ALIGNED = 64


class Packed(NamedTuple):
    """A value that is ready to be sent.

    Attributes:
      text: its pickle, without the large arrays.
      arrays: the bytes of each of those.
    """

    text: bytes
    arrays: Sequence[memoryview]


def pack(value: Any) -> Packed:
    """Pickle a value, without copying its large arrays.

    Raises:
      Exception: whatever pickle makes of what can't be sent.

    >>> packed = pack(np.zeros(10_000))
    >>> len(packed.text) < 1000, packed.arrays[0].nbytes
    (True, 80000)
    """
    arrays: list[memoryview] = []

    def taken(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes >= _LEAST:
            arrays.append(raw)
        return raw.nbytes < _LEAST

    text = io.BytesIO()
    _Pickler(text, protocol=5, buffer_callback=taken).dump(value)
    return Packed(text.getvalue(), arrays)


def send(connection: Connection, packed: Packed) -> None:
    """Send a value through one end of a two-way pipe; it may be sent to several.

    The arrays go by a nameless file in memory, which is freed when nobody has it any more:
    whoever dies, nothing of it remains. Few bytes go through the pipe itself, and so do all where
    there are no such files, as on macOS.
    """
    sizes = [array.nbytes for array in packed.arrays]
    if sum(sizes) < _LEAST_IN_MEMORY or not hasattr(os, "memfd_create"):
        inline = [bytes(array) for array in packed.arrays]
        connection.send_bytes(pickle.dumps((packed.text, sizes, inline)))
        return
    file = _in_memory(packed.arrays)
    try:
        connection.send_bytes(pickle.dumps((packed.text, sizes, None)))
        reduction.send_handle(connection, file, None)
    finally:
        os.close(file)


def receive(connection: Connection, *, mapped: bool = False) -> Packed:
    """Receive what `send` sent.

    Args:
      connection: the other end of the pipe.
      mapped: whether the arrays stay in the memory that the sender wrote, and may not be written
        to; else they are copied out of it, so that no file is kept open for them.

    Raises:
      EOFError, OSError: the other end is gone.
    """
    text, sizes, inline = pickle.loads(connection.recv_bytes())
    if inline is not None:
        return Packed(text, [memoryview(bytearray(array)) for array in inline])
    file = reduction.recv_handle(connection)
    try:
        places = list(zip(_begins(sizes), sizes, strict=False))
        if mapped:
            whole = memoryview(mmap.mmap(file, 0, prot=mmap.PROT_READ))
            return Packed(text, [whole[at : at + size] for at, size in places])
        return Packed(text, [_read(file, at, size) for at, size in places])
    finally:
        os.close(file)


def _read(file: int, at: int, size: int) -> memoryview:
    array = np.empty(size, np.uint8).data  # not set to zero first
    done = 0
    while done < size:
        done += os.preadv(file, [array[done:]], at + done)
    return array


def unpack(packed: Packed) -> Any:
    """Make the value again; its arrays are over what was received."""
    return pickle.loads(packed.text, buffers=packed.arrays)


def _in_memory(arrays: Sequence[memoryview]) -> int:
    file = os.memfd_create("dovetail")
    try:
        begins = _begins([array.nbytes for array in arrays])
        os.ftruncate(file, begins[-1])
        for at, array in zip(begins, arrays, strict=False):
            left = array
            while left.nbytes:
                written = os.pwrite(file, left, at)
                at, left = at + written, left[written:]
    except BaseException:
        os.close(file)
        raise
    return file


def _begins(sizes: Sequence[int]) -> list[int]:
    """Where each array begins, and where the file ends."""
    begins = [0]
    for size in sizes:
        begins.append(begins[-1] + -(-size // _ALIGNED) * _ALIGNED)
    return begins


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is np.ndarray:
            flags = obj.flags
            if not (flags.c_contiguous or flags.f_contiguous or obj.dtype.hasobject):
                return np.ascontiguousarray(obj).__reduce_ex__(5)  # a view would be copied twice
        elif isinstance(obj, (type, types.FunctionType)):
            _refuse_if_of_notebook(obj)
        elif kind.__name__ == "Tensor" and kind.__module__ == "torch":
            return _tensor(obj)
        return NotImplemented


def _refuse_if_of_notebook(obj: Any) -> None:
    if obj.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        raise pickle.PicklingError(
            f"{obj.__qualname__} is defined in a notebook or an interactive session"
        )


def _tensor(tensor: Any) -> Any:
    if tensor.device.type != "cpu":
        raise pickle.PicklingError(
            f"a tensor on {tensor.device} stays in its process; move it there in the main process"
        )
    try:
        array = tensor.detach().numpy()
    except (TypeError, RuntimeError):  # of a type that NumPy has not
        return NotImplemented
    if tensor.requires_grad or tensor.is_sparse:
        return NotImplemented
    return _as_tensor, (array,)


def _as_tensor(array: np.ndarray) -> Any:
    import torch  # only for who has tensors

    return torch.from_numpy(array)

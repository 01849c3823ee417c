"""Tensors in a safetensors file, written in chunks with the checksum taken on the way.

The format is 8 bytes of length (little endian), a JSON header, and the tensors' bytes; see
https://github.com/huggingface/safetensors. Written here and not by the library so that it can go
on beside a training: every call is short or lets go of Python's lock, the bytes are read once for
disk and checksum, and a failing disk is reported as what it said (an OSError with its number).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.int64: "I64",
    torch.uint64: "U64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
"""The names of the format for torch's dtypes."""

_CHUNK = 1 << 20  # hashed and written while it is in the cache: a third less time than with 4 MB


def write(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, object]:
    """Write tensors to a new safetensors file.

    Args:
      path: must not exist.
      tensors: by name: on the CPU, contiguous, of a dtype in `DTYPES`.

    Returns:
      Its size and checksum, as `checkpoint_files.measure` gives them.

    Raises:
      OSError: what the file system said; what was written of the file stays.

    Example:

    >>> import pathlib, tempfile
    >>> from safetensors.torch import load_file
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> write(path, {"w": torch.ones(2)})["bytes"], load_file(path)
    (72, {'w': tensor([1., 1.])})
    """
    digest, size = hashlib.sha256(), 0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        for chunk in _chunks(tensors):
            digest.update(chunk)
            size += len(chunk)
            while chunk:  # a disk that is nearly full takes a part, and refuses the rest
                chunk = chunk[os.write(handle, chunk) :]
    finally:
        os.close(handle)
    return {"bytes": size, "sha256": digest.hexdigest()}


def as_bytes(tensor: torch.Tensor) -> memoryview:
    """Return the memory of a contiguous CPU tensor."""
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data


def _chunks(tensors: Mapping[str, torch.Tensor]) -> Iterator[memoryview]:
    # Wide types first, as the library writes them, so that each tensor lies at its alignment.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, object] = {}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield memoryview(len(text).to_bytes(8, "little") + text)
    for _, tensor in ordered:
        if tensor.numel():
            whole = as_bytes(tensor)
            for start in range(0, len(whole), _CHUNK):
                yield whole[start : start + _CHUNK]

"""Tensors in files that the safetensors library reads as it reads its own."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from dovetail.run import tensor_file


def some_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(0, 120, (5, 24), dtype=torch.uint8, generator=generator)
    found = {f"of.{dtype}": bits.view(dtype) for dtype in tensor_file.DTYPES if dtype != torch.bool}
    return {
        **found,
        "bool": bits > 60,
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "näme \"quoted\" / 'ß'": torch.arange(7),
        "large": torch.randn(1_200_000, generator=generator),
    }


def test_the_library_reads_what_was_given(tmp_path: Path) -> None:
    tensors = some_tensors()
    written = tensor_file.write(tmp_path / "a", tensors)
    data = (tmp_path / "a").read_bytes()
    assert written == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for found in (safetensors.torch.load_file(tmp_path / "a"), safetensors.torch.load(data)):
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found[name].dtype == tensor.dtype
            assert found[name].shape == tensor.shape
            assert (
                found[name]
                .reshape(-1)
                .view(torch.uint8)
                .equal(tensor.reshape(-1).view(torch.uint8))
            )


def test_the_header_says_what_the_librarys_says(tmp_path: Path) -> None:
    tensors = {name: tensor.clone() for name, tensor in some_tensors().items()}
    tensor_file.write(tmp_path / "ours", tensors)
    safetensors.torch.save_file(tensors, tmp_path / "theirs")
    ours, theirs = (_parts((tmp_path / name).read_bytes()) for name in ("ours", "theirs"))
    assert ours == theirs


def _parts(data: bytes) -> dict[str, tuple[str, list[int], bytes]]:
    end = 8 + int.from_bytes(data[:8], "little")
    assert end % 8 == 0
    body = data[end:]
    parts = {}
    for name, one in json.loads(data[8:end]).items():
        start, stop = one["data_offsets"]
        parts[name] = one["dtype"], one["shape"], body[start:stop]
    return parts


def test_no_tensors_are_a_file_too(tmp_path: Path) -> None:
    tensor_file.write(tmp_path / "a", {})
    assert safetensors.torch.load_file(tmp_path / "a") == {}


def test_a_disk_that_takes_a_part_is_given_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:1000]))
    tensors = {"w": torch.arange(3000.0)}
    written = tensor_file.write(tmp_path / "a", tensors)
    assert written["bytes"] == (tmp_path / "a").stat().st_size
    assert safetensors.torch.load_file(tmp_path / "a")["w"].equal(tensors["w"])


def test_what_the_disk_says_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        tensor_file.write(tmp_path / "a", {"w": torch.ones(2)})
    assert caught.value.errno == errno.ENOSPC


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(FileExistsError):
        tensor_file.write(tmp_path / "a", {})
    assert (tmp_path / "a").read_text() == "mine"

"""Tensors of any kind come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dovetail.errors import CheckpointError
from dovetail.run import checkpoint
from dovetail.run.checkpoint_tensors import decode, encode, pack, unpack

DTYPES = ["bfloat16", "float16", "float32", "float64", "int64", "uint8", "bool", "complex64"]


def _round(tensors: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(checkpoint.save(path, 1, tensors, {}, {})).model


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3, 4)])
def test_dtype_and_shape_come_back(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    tensor = torch.testing.make_tensor(shape, dtype=getattr(torch, dtype), device="cpu")
    back = _round({"t": tensor}, tmp_path)["t"]
    assert (back.dtype, back.shape, back.stride()) == (tensor.dtype, tensor.shape, tensor.stride())
    assert back.equal(tensor)


def test_nan_and_minus_zero_keep_their_bits(tmp_path: Path) -> None:
    bits = torch.tensor([0x7FC00001, -0x80000000, 0x7F800000], dtype=torch.int32)
    back = _round({"t": bits.view(torch.float32)}, tmp_path)["t"]
    assert back.view(torch.int32).equal(bits)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).view(2, 3).t(),
        torch.arange(48.0).view(2, 3, 4, 2).contiguous(memory_format=torch.channels_last),
        torch.arange(24.0).view(2, 3, 4).permute(2, 0, 1),
        torch.arange(12.0)[::3],
    ],
)
def test_strides_come_back(tmp_path: Path, tensor: torch.Tensor) -> None:
    back = _round({"t": tensor}, tmp_path)["t"]
    assert back.stride() == tensor.stride()
    assert back.equal(tensor)


def test_overlapping_elements_come_back_as_their_own(tmp_path: Path) -> None:
    expanded = torch.arange(3.0).expand(2, 3)
    windows = torch.arange(5.0).as_strided((3, 3), (1, 1))
    back = _round({"e": expanded, "w": windows}, tmp_path)
    assert back["e"].equal(expanded)
    assert back["w"].equal(windows)


def test_tied_tensors_stay_tied_and_views_do_not(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(6.0).view(2, 3))
    given = {
        "a": weight,
        "b": weight.detach(),
        "transposed": weight.t(),
        "row": weight[0],
        "none": torch.zeros(0),
        "none2": torch.zeros(0),
    }
    back = _round(given, tmp_path)
    assert list(back) == list(given)
    assert back["a"] is back["b"]
    assert back["none"] is not back["none2"]
    back["row"].zero_()
    assert all(back[n].equal(t) for n, t in given.items() if n != "row")


def test_a_plain_reader_finds_a_tied_tensor_once(tmp_path: Path) -> None:
    weight = torch.ones(1000)
    path = checkpoint.save(tmp_path, 1, {"a": weight, "b": weight}, {}, {})
    assert (path / "model.safetensors").stat().st_size < 2 * 4000


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(2, device="meta"), "meta device"),
        (torch.eye(2).to_sparse(), "to_dense"),
        (torch.ones(2, dtype=torch.complex128), "complex128"),
    ],
)
def test_what_cannot_be_stored_is_named(tensor: torch.Tensor, words: str) -> None:
    with pytest.raises(CheckpointError, match=f"'conv.weight'.*{words}"):
        pack({"conv.weight": tensor})


def test_unpacked_tensors_own_their_memory() -> None:
    source = torch.ones(3)
    packed = pack({"t": source})
    unpack(packed.tensors, packed.names, packed.aliases, packed.strides)["t"].zero_()
    assert source.equal(torch.ones(3))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text().filter(lambda k: not k.startswith("$")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_plain_values_come_back_equal_and_of_the_same_types(value: object) -> None:
    assert repr(decode(encode("v", value, {}), {})) == repr(value)


def test_numpy_numbers_become_plain_ones() -> None:
    assert encode("v", np.float32(0.1), {}) == float(np.float32(0.1))
    assert encode("v", np.int64(3), {}) == 3


@pytest.mark.parametrize("value", [object(), {1: 2}, {"$x": 1}, [{1, 2}], np.ones(2)])
def test_a_value_that_cannot_be_stored_is_named(value: object) -> None:
    with pytest.raises(CheckpointError, match=r"^state\.x"):
        encode("state.x", value, {})

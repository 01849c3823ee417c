"""Values that go to another process: which arrays go by shared memory, and what can't go."""

import gc
import multiprocessing
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dovetail.data.pipeline.crossing import pack, receive, send, unpack


def there_and_back(value, *, mapped=False):
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        packed = pack(value)
        # In a thread: a pipe takes only so much before someone reads.
        sending = threading.Thread(target=send, args=(theirs, packed))
        sending.start()
        came = unpack(receive(ours, mapped=mapped))
        sending.join()
    return came


@given(
    st.lists(
        hnp.arrays(
            st.sampled_from([np.uint8, np.float32, np.int64, bool]),
            hnp.array_shapes(max_dims=3, max_side=40),
        ),
        max_size=4,
    )
)
def test_arrays_arrive_as_they_were(arrays):
    came = there_and_back({"arrays": arrays, "n": 3})
    assert came["n"] == 3
    for one, other in zip(arrays, came["arrays"], strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        other[...] = 0  # may be written to


def test_large_arrays_share_memory_and_small_ones_go_along():
    big = np.arange(100_000.0)
    assert len(pack(big).text) < 500
    assert pack(np.arange(3)).arrays == []
    came = there_and_back((big, np.arange(3), big[::2], big.reshape(100, -1).T))
    assert came[2].tolist() == big[::2].tolist()
    assert came[3].shape == (1000, 100)


def shared_memory():
    """What this process holds of memory that was sent."""
    maps = Path("/proc/self/maps")  # not on macOS
    return "memfd:dovetail" in maps.read_text() if maps.exists() else None


def test_nothing_remains_of_shared_memory():
    came = there_and_back(np.ones(100_000))
    assert not shared_memory()
    came = there_and_back(np.ones(100_000), mapped=True)
    assert shared_memory() in (True, None)
    assert came.sum() == 100_000
    assert not came.flags.writeable
    del came
    gc.collect()
    assert not shared_memory()


def test_tensors_share_memory_too():
    tensor = torch.arange(60_000).reshape(300, 200)
    assert len(pack(tensor).text) < 500
    assert torch.equal(there_and_back(tensor), tensor)
    assert torch.equal(there_and_back(tensor.T), tensor.T)
    half = torch.ones(3, dtype=torch.bfloat16)  # which NumPy has not
    assert torch.equal(there_and_back(half), half)
    assert there_and_back(torch.ones(2, requires_grad=True)).requires_grad


def test_strings_and_objects_arrive():
    value = np.array(["a", None, {"k": np.ones(3)}], object)
    came = there_and_back(value)
    assert came[0] == "a"
    assert came[2]["k"].tolist() == [1, 1, 1]


def test_what_was_defined_in_a_notebook_is_refused(monkeypatch):
    import sys
    import types

    notebook = types.ModuleType("__main__")
    exec("class Mine: pass\ndef mine(): pass", notebook.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    for thing in (notebook.Mine, notebook.mine, notebook.Mine()):
        with pytest.raises(pickle.PicklingError, match="defined in a notebook"):
            pack(thing)


def test_a_sender_that_is_gone_is_noticed():
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    with ours, pytest.raises(EOFError):
        receive(ours)

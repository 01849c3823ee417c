"""Prefetching changes when items are made, and nothing else."""

import gc
import subprocess
import sys
import threading
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.prefetch import prefetch


def threads():
    return [one for one in threading.enumerate() if one.name == "dovetail-prefetch"]


def fails_after(count):
    yield from range(count)
    raise KeyError("the one after")


@given(st.lists(st.integers()), st.integers(0, 5))
def test_the_items_are_the_same_in_the_same_order(items, depth):
    assert list(prefetch(items, depth)) == items
    assert threads() == []


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_an_error_comes_where_its_item_would_have(depth):
    items = prefetch(fails_after(5), depth)
    assert [next(items) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyError, match="the one after") as caught:
        next(items)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "fails_after" in names
    assert list(items) == []
    assert threads() == []


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_than_depth_items_are_made_ahead(depth):
    made = []
    waiting = threading.Event()

    def source():
        for number in range(100):
            made.append(number)
            if len(made) == depth + 1:
                waiting.set()
            yield number

    with prefetch(source(), depth) as items:
        assert next(items) == 0
        assert waiting.wait(10)
        assert len(made) == depth + 1


def test_the_next_item_is_made_while_the_present_one_is_used():
    asked = threading.Event()

    def source():
        yield 0
        asked.set()
        yield 1

    with prefetch(source(), 1) as items:
        next(items)
        assert asked.wait(10)


@pytest.mark.parametrize("depth", [0, 2])
def test_closing_ends_the_thread_and_closes_the_source(depth):
    closed = []

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    items = prefetch(source(), depth)
    next(items)
    items.close()
    items.close()
    assert closed == [True]
    assert threads() == []
    assert list(items) == []


def test_leaving_a_loop_early_leaves_no_thread():
    for number in prefetch(iter(range(10**9)), 2):
        if number == 3:
            break
    gc.collect()
    assert threads() == []


def test_an_iterable_that_never_returns_does_not_keep_the_process_alive():
    code = (
        "import threading; from dovetail.data.prefetch import prefetch\n"
        "def source():\n    yield 0\n    threading.Event().wait()\n"
        "items = prefetch(source(), 2); print(next(items))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_negative_depth_is_refused():
    with pytest.raises(ValueError, match="got -1"):
        prefetch([], -1)

"""Prefetching changes when items are made, and nothing else."""

import gc
import subprocess
import sys
import threading
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.prefetch import WhereSlow, prefetch


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


class Slowly:
    """Numbers, of which those between two places take long by its clock; and where each was made.

    The clock stands still where nothing is slow, so that no test depends on time.
    """

    def __init__(self, first, last, count):
        self.first, self.last, self.count = first, last, count
        self.now = 0.0
        self.closed = False

    def __iter__(self):
        try:
            for number in range(self.count):
                if self.first <= number < self.last:
                    self.now += 0.001
                yield number, threading.current_thread().name == "dovetail-prefetch"
        finally:
            self.closed = True

    def clock(self):
        return self.now


def where_slow(source):
    return WhereSlow(source, 2, clock=source.clock)


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 500), (10, 400), (0, 10)])
def test_where_items_are_slow_changes_nothing_of_them(first, last):
    items = where_slow(Slowly(first, last, 500))
    assert [number for number, _ in items] == list(range(500))
    assert list(items) == []
    assert threads() == []


def test_slow_items_are_made_in_a_thread_until_they_are_quick_again():
    with where_slow(Slowly(20, 120, 500)) as items:
        ahead = [in_thread for _, in_thread in items]
    assert ahead.index(True) == 23  # after three that were slow
    assert sum(ahead[20:120]) >= 90
    assert not any(ahead[300:])


@pytest.mark.parametrize(("used", "threaded"), [(0.004, True), (0.006, False)])
def test_items_are_slow_only_beside_what_they_are_used_for(used, threaded):
    source = Slowly(0, 500, 500)  # of a millisecond each
    ahead = []
    with where_slow(source) as items:
        for _, in_thread in items:
            ahead.append(in_thread)
            source.now += used
    assert any(ahead) == threaded


def test_an_error_among_slow_items_comes_where_its_item_would_have():
    source = Slowly(0, 50, 50)

    def fails():
        yield from source
        raise KeyError("the one after")

    items = WhereSlow(fails(), 2, clock=source.clock)
    assert [next(items)[0] for _ in range(50)] == list(range(50))
    with pytest.raises(KeyError, match="the one after"):
        next(items)
    assert list(items) == []
    assert threads() == []


@pytest.mark.parametrize("depth", [1, 3])
def test_quick_items_are_made_depth_at_once(depth):
    made = []

    def source():
        for number in range(10):
            made.append(number)
            yield number

    items = WhereSlow(source(), depth, clock=lambda: 0.0)
    seen = [(next(items), len(made)) for _ in range(depth + 1)]
    assert seen == [*((number, depth) for number in range(depth)), (depth, 2 * depth)]
    items.close()
    assert list(items) == []


def test_nothing_more_is_made_after_a_slow_item_before_it_is_given():
    source = Slowly(0, 2, 10)
    items = WhereSlow(source, 4, clock=source.clock)
    next(items)
    assert source.now == pytest.approx(0.001)
    next(items)
    assert source.now == pytest.approx(0.002)


def test_an_error_after_quick_items_comes_where_its_item_would_have():
    items = WhereSlow(fails_after(5), 3, clock=lambda: 0.0)
    assert [next(items) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyError, match="the one after") as caught:
        next(items)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "fails_after" in names
    assert list(items) == []


@pytest.mark.parametrize("taken", [1, 20])
def test_closing_ends_the_thread_and_the_iterable(taken):
    source = Slowly(0, 1000, 1000)
    items = where_slow(source)
    for _ in range(taken):
        next(items)
    items.close()
    assert source.closed
    assert threads() == []
    assert list(items) == []


def test_no_thread_outlives_a_dropped_iterator_over_slow_items():
    items = where_slow(Slowly(0, 1000, 1000))
    for _ in range(20):
        next(items)
    del items
    gc.collect()
    assert threads() == []

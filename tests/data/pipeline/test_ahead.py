"""Working ahead in threads: order, bounds, errors, and how it ends."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.pipeline.ahead import InThreads


def ours():
    return [one for one in threading.enumerate() if one.name.startswith("dovetail-pipeline")]


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 6))
def test_results_come_in_the_order_of_the_items(naps, depth):
    def work(item):
        number, nap = item
        time.sleep(nap * 1e-4)
        return number

    with InThreads(iter(enumerate(naps)), work, depth) as made:
        assert list(made) == list(range(len(naps)))
    assert ours() == []


def test_several_are_at_work_at_once():
    barrier = threading.Barrier(4, timeout=5)
    with InThreads(iter(range(8)), lambda n: barrier.wait() * 0 + n, 4) as made:
        assert list(made) == list(range(8))


def test_items_are_drawn_in_the_callers_thread_and_not_further_than_the_depth():
    drawn = []

    def items():
        for number in range(20):
            drawn.append(threading.current_thread())
            yield number

    with InThreads(items(), lambda n: n, 3) as made:
        assert next(made) == 0
        assert len(drawn) == 4
        assert set(drawn) == {threading.current_thread()}


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_an_error_comes_in_its_turn_and_ends_all(error):
    def work(n):
        if n == 2:
            raise error(n)
        return n

    made = InThreads(iter(range(10)), work, 4)
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(error):
        next(made)
    assert ours() == []
    with pytest.raises(StopIteration):
        next(made)


def test_an_error_of_the_items_comes_after_what_came_before_it():
    def items():
        yield 1
        yield 2
        raise LookupError("items")

    made = InThreads(items(), lambda n: n * 10, 3)
    assert [next(made), next(made)] == [10, 20]
    with pytest.raises(LookupError, match="items"):
        next(made)
    assert ours() == []


def test_closing_drops_what_is_not_begun():
    begun = []

    def work(n):
        begun.append(n)
        time.sleep(0.01)
        return n

    made = InThreads(iter(range(100)), work, 2)
    next(made)
    made.close()
    assert len(begun) <= 4
    assert ours() == []

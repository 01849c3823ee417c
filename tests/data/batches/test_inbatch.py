"""Methods for one item, run for all items: alike on every target, errors and random numbers too."""

import asyncio
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dovetail.data.batches.actions import SkipBatch, action
from dovetail.data.batches.batch import Batch
from dovetail.data.batches.inbatch import ItemsError, assembled, inbatch_parallel
from dovetail.data.batches.inbatch_targets import run_all
from dovetail.errors import DataError, DefinitionError

LOCAL = ["threads", "for"]


class Numbers(Batch):
    components = "x", "y"

    def pairs(self, by=1):
        return [(id, {"by": by}) if id % 2 else id for id in self.indices.tolist()]

    def calls(self, *args):
        return [((id,), {"by": 2}) for id in self.indices.tolist()]

    def short(self):
        return [1]

    def keep(self, results, *args, **kwargs):
        self.y = results

    def other(self, results):
        return Numbers([0], preloaded={"x": [sum(results)]})


def numbers(count=6):
    return Numbers(np.arange(count), preloaded={"x": np.arange(count) * 10})


# Classes for processes stand at the top level: they are found there by name.
class InProcesses(Batch):
    components = "x", "y"

    @action
    @inbatch_parallel(init="x", post="y", target="processes")
    def double(self, value, by=2):
        return value * by, os.getpid() % 1  # a tuple stays a tuple

    @inbatch_parallel(init="indices", post="y", target="processes")
    def draw(self, id):
        return self.random(self.get_pos(id)).random()

    @inbatch_parallel(init="indices", post="y", target="processes")
    def where(self, id):
        return os.getpid()

    @inbatch_parallel(init="indices", target="processes")
    def fail(self, id):
        if id != 1:
            raise ValueError(f"no {id}")

    @inbatch_parallel(init="indices", target="processes")
    def die(self, id):
        os._exit(7)

    @inbatch_parallel(init="indices", target="processes")
    def look(self, id):
        return self.x


class InThreads(InProcesses):
    @inbatch_parallel(init="indices", post="y")
    def draw(self, id):
        return self.random(self.get_pos(id)).random()


def test_a_worker_process_starts_no_others(monkeypatch):
    assert os.getpid() not in InProcesses([1, 2]).where().y
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    assert InProcesses([1, 2]).where().y.tolist() == [os.getpid()] * 2


def lives(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")  # not on macOS
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("target", LOCAL)
@pytest.mark.parametrize(
    ("init", "given"),
    [
        ("x", [0, 10, 20, 30]),
        ("indices", [0, 1, 2, 3]),
        ("items", [0, 1, 2, 3]),
        (("x", "x"), [0, 20, 40, 60]),
        (lambda batch: batch.x + 1, [1, 11, 21, 31]),
        ("calls", [0, 2, 4, 6]),
    ],
)
def test_each_item_gets_what_init_says(init, given, target):
    class Own(Numbers):
        @inbatch_parallel(init=init, post="y", target=target)
        def run(self, one, more=0, by=1):
            return (one.id if init == "items" else one) * by + more

    batch = Own(np.arange(4), preloaded={"x": np.arange(4) * 10})
    assert batch.run() is batch
    assert batch.y.tolist() == given


@pytest.mark.parametrize("target", LOCAL)
def test_arguments_of_the_call_come_after_the_items_own(target):
    class Own(Numbers):
        @inbatch_parallel(init="pairs", post="keep", target=target)
        def run(self, id, *args, by=0):
            return id, args, by

    batch = Own(np.arange(3))
    batch.run(by=5)
    assert batch.y == [(0, (), 5), (1, ({"by": 5},), 5), (2, (), 5)]


def test_post_may_be_nothing_a_method_or_a_function():
    class Own(Numbers):
        @inbatch_parallel(init="x")
        def nothing(self, value):
            return value

        @inbatch_parallel(init="x", post="other")
        def method(self, value):
            return value

        @inbatch_parallel(init="x", post=lambda batch, results: max(results))
        def function(self, value):
            return value

    batch = Own(np.arange(3), preloaded={"x": [1, 2, 3]})
    assert batch.nothing() is batch
    assert not batch.has("y")
    assert batch.method().x == [6]
    assert batch.function() == 3


def test_coroutines_run_together():
    class Own(Numbers):
        @inbatch_parallel(init="x", post="y", target="async")
        async def wait(self, value):
            await asyncio.sleep(0.02)
            return value + 1

    batch = Own(np.arange(50), preloaded={"x": np.arange(50)})
    start = time.perf_counter()
    batch.wait()
    assert time.perf_counter() - start < 0.5  # one after the other: 1 s
    assert batch.y.tolist() == list(range(1, 51))

    async def within_a_loop():
        return batch.wait().y[0]

    assert asyncio.run(within_a_loop()) == 1


def test_threads_are_several_at_once_and_do_not_wait_for_each_other_when_nested():
    met = threading.Barrier(3, timeout=10)

    class Own(Numbers):
        @inbatch_parallel(init="indices")
        def meet(self, id):
            met.wait()

        @inbatch_parallel(init="indices", post="y")
        def outer(self, id):
            return float(numbers(4).apply(lambda x: x + id, component="x", target="threads").x[1])

    Own(np.arange(3)).meet()
    assert Own(np.arange(50)).outer().y.tolist() == [10.0 + id for id in range(50)]


@pytest.mark.parametrize("target", LOCAL)
def test_errors_of_items_are_collected_and_raised_together(target):
    tried = []

    class Own(Numbers):
        @inbatch_parallel(init="indices", post="y", target=target)
        def load(self, id):
            tried.append(id)
            if id % 2:
                raise OSError(f"no file {id}")

    batch = Own(np.arange(20))
    with pytest.raises(ItemsError, match=r"Own.load failed for 10 of 20 items") as caught:
        batch.load()
    assert sorted(tried) == list(range(20))
    assert [id for id, _ in caught.value.failures] == list(range(1, 20, 2))
    assert "  3: OSError: no file 3" in str(caught.value)
    assert "and 5 more" in str(caught.value)
    group = caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    assert all(error.__traceback__ is not None for error in group.exceptions)
    assert not batch.has("y")
    came = pickle.loads(pickle.dumps(caught.value))
    assert str(came) == str(caught.value)
    assert [id for id, _ in came.failures] == list(range(1, 20, 2))


def test_skip_batch_passes_through():
    class Own(Numbers):
        @inbatch_parallel(init="indices")
        def skip(self, id):
            if id == 2:
                raise SkipBatch

    with pytest.raises(SkipBatch):
        Own(np.arange(4)).skip()


def test_interrupting_is_not_an_error_of_an_item():
    class Own(Numbers):
        @inbatch_parallel(init="indices", target="for")
        def stop(self, id):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Own([1]).stop()


def test_processes_give_what_threads_give():
    batch = InProcesses(np.arange(5), preloaded={"x": np.arange(5)})
    assert batch.double().y == [(2 * n, 0) for n in range(5)]
    one, other = InProcesses(np.arange(5)), InThreads(np.arange(5))
    for _ in range(2):
        np.testing.assert_array_equal(one.draw().y, other.draw().y)
    assert len({*one.y, *one.draw().y}) == 10
    with pytest.raises(ItemsError, match=r"failed for 2 of 3 items:\n  0: ValueError: no 0"):
        InProcesses(np.arange(3)).fail()
    with pytest.raises(ItemsError, match="no data for its component 'x'"):
        InProcesses([1], preloaded={"x": [1]}).look()


def test_a_killed_process_ends_the_run_with_its_name_and_exit_code():
    with pytest.raises(DataError, match=r"died in the middle of a batch: \S+ \(exit code 7\)"):
        InProcesses([1, 2]).die()
    batch = InProcesses([1], preloaded={"x": [1]})
    assert batch.double().y == [(2, 0)]  # by new processes


def test_processes_end_when_the_one_that_started_them_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from dovetail.data.batches.batch import Batch\n"
        "from dovetail.data.batches.inbatch import inbatch_parallel\n"
        "class Own(Batch):\n"
        "    @inbatch_parallel(init='indices', post='show', target='processes')\n"
        "    def pid(self, id):\n"
        "        return os.getpid()\n"
        "    def show(self, results):\n"
        "        print(*results, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    Own([1, 2]).pid()\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with process:
        assert process.stdout is not None
        workers = {int(word) for word in process.stdout.readline().split()}
        process.kill()
    for _ in range(200):
        if not any(lives(worker) for worker in workers):
            break
        time.sleep(0.05)
    else:
        pytest.fail("a worker process lives on")


def test_what_can_not_travel_to_a_process_is_said_to_be_so():
    class Local(Batch):
        @inbatch_parallel(init="indices", target="processes")
        def run(self, id): ...

    with pytest.raises(DataError, match="can't be sent this work"):
        Local([1]).run()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "thread"}, "Did you mean 'threads'"),
        ({"target": "processes"}, "does not travel"),
        ({"target": "async"}, "defined by `async def`"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options, said):
    with pytest.raises(DefinitionError, match=said):
        inbatch_parallel(**options)(lambda self, item: None)
    with pytest.raises(DataError, match="one of threads"):
        run_all(int, [], "thread")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"init": "short"}, "gave 1 values for 3 items"),
        ({"init": "pair"}, "init is 'pair', .* Did you mean 'pairs'"),
        ({"init": "x", "post": "kep"}, "post is 'kep', .* Did you mean 'keep'"),
    ],
)
def test_names_that_mean_nothing_are_refused(options, said):
    class Own(Numbers):
        @inbatch_parallel(**options)
        def run(self, one): ...

    with pytest.raises(DataError, match=said):
        Own(np.arange(3), preloaded={"x": [1, 2, 3]}).run()


def test_results_of_one_shape_become_an_array():
    assert assembled([1, 2]).tolist() == [1, 2]
    assert assembled([np.zeros(2), np.ones(2)]).shape == (2, 2)
    assert assembled(["a", "b"]) == ["a", "b"]
    assert assembled([]) == []
    assert assembled([1, None]) == [1, None]

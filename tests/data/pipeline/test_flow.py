"""One pass over a data set: order, prefetching, errors, joins, and going on from a state."""

import gc
import json
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.batches.actions import SkipBatch, action
from dovetail.data.batches.batch import Batch
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.pipeline.flow import Flow, Pass
from dovetail.data.pipeline.model_methods import model
from dovetail.data.pipeline.named import Component
from dovetail.data.pipeline.pipeline import Pipeline
from dovetail.errors import DataError, ParamsError

ITEMS = 23


class Rows(Batch):
    components = ("x", "y")

    @model
    def counted(self):
        return {"batches": [], "threads": set()}

    @action
    def add(self, n):
        self.x = self.x + n
        return self

    @action
    def noise(self):
        self.x = self.x + self.uniform(0, 1)
        return self

    @action
    def uneven_nap(self):
        time.sleep(0.002 * (self.iteration % 3 == 0))
        return self

    @action
    def fail_at(self, *iterations):
        if self.iteration in iterations:
            raise LookupError(f"batch {self.iteration}")
        return self

    @action
    def skip_every(self, n):
        if self.iteration % n == 0:
            raise SkipBatch
        return self

    @action(model="counted")
    def train_counted(self, counted):
        counted["batches"].append(self.iteration)
        counted["threads"].add(threading.current_thread().name)
        return self

    @action
    def plus(self, *others):
        self.y = sum((other.x[: len(self)] for other in others), np.zeros(len(self)))
        return self

    @action(use_lock="lock")
    def alone(self, at_work, most):
        return self.crowded(at_work, most)

    @action(use_lock=True)
    def all_alone(self, at_work, most):
        return self.crowded(at_work, most)

    @action
    def crowded(self, at_work, most):
        at_work.append(self.iteration)
        time.sleep(0.005)
        most.append(len(at_work))
        at_work.remove(self.iteration)
        return self

    @action(use_lock="lock")
    def fail_holding_a_lock(self):
        raise LookupError("held")

    @action
    def count_at_work(self, at_work, most):
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.003)
        at_work.pop()
        return self


def rows(count=ITEMS, first=0):
    return Dataset(count, Rows, preloaded={"x": np.arange(first, first + count) * 1.0})


def xs(batches):
    return [batch.x.tolist() for batch in batches]


def our_threads():
    return [one for one in threading.enumerate() if one.name.startswith("dovetail-pipeline")]


@pytest.fixture(autouse=True)
def _no_thread_remains():
    yield
    assert our_threads() == []


STEPS = {
    "plain": lambda p: p.add(1).noise(),
    "rebatched": lambda p: p.add(1).rebatch(3).noise(),
    "chance": lambda p: p.noise() + Pipeline().add(100) @ 0.5,
    "filtered": lambda p: p.filter(lambda b: b.x % 3 != 0).noise().skip_every(4),
    "model": lambda p: p.noise().train_counted().rebatch(5),
    "joined": lambda p: p.uneven_nap().join(rows(ITEMS).p.noise()).plus().add(1),
    "merged": lambda p: p.merge(rows(ITEMS + 2, 100).p.add(2)).noise(),
    "written": lambda p: p.init_variable("v", []).update_variable("v", Component("x")).noise(),
    "twice": lambda p: p.rebatch(4).uneven_nap().rebatch(7, drop_last=True),
}


@given(
    st.sampled_from(sorted(STEPS)),
    st.integers(1, 9),
    st.integers(1, 30),
    st.sampled_from([False, True]),
    st.booleans(),
    st.integers(0, 2),
)
def test_any_depth_gives_the_same_sequence(kind, depth, size, shuffle, drop_last, seed):
    how = {
        "shuffle": shuffle,
        "drop_last": drop_last and size <= ITEMS,
        "seed": seed,
        "n_epochs": 2,
    }
    pipeline = STEPS[kind](rows().p)
    assert xs(pipeline.gen_batch(size, prefetch=depth, **how)) == xs(
        pipeline.gen_batch(size, **how)
    )


@given(st.sampled_from(sorted(STEPS)), st.integers(1, 9), st.integers(0, 8), st.integers(0, 3))
def test_any_state_is_gone_on_from_exactly(kind, size, done, depth):
    how = Pass(size, shuffle=True, n_epochs=2, prefetch=depth)
    pipeline = STEPS[kind](rows().p)
    with Flow(pipeline, how) as flow:
        first = flow.state
        expected = xs(flow)
    with Flow(pipeline, how) as flow:
        for _ in zip(range(done), flow, strict=False):
            pass
        state = json.loads(json.dumps(flow.state))
    with Flow(pipeline, how, state) as flow:
        assert flow.state == state
        assert xs(flow) == expected[done:]
    with Flow(pipeline, how, first) as flow:
        assert xs(flow) == expected


def test_going_on_after_a_change_of_batch_size_makes_only_what_is_needed_again():
    made = []
    pipeline = rows().p.call(lambda batch: made.append(batch.iteration)).rebatch(3)
    with Flow(pipeline, Pass(4)) as flow:
        for _ in range(6):  # items 0 to 17; batch 4 is held in part
            next(flow)
        state = flow.state
    made.clear()
    with Flow(pipeline, Pass(4), state) as flow:
        assert xs(flow) == [[18, 19, 20], [21, 22]]
    assert made == [4, 5]


def test_what_would_train_twice_is_not_gone_on_from():
    pipeline = rows().p.rebatch(4).train_counted().rebatch(3)
    with Flow(pipeline, Pass(4)) as flow:
        next(flow)
        state = flow.state
    with pytest.raises(DataError, match="models and variables would get them twice"):
        Flow(pipeline, Pass(4), state)


def test_a_state_of_something_else_is_refused():
    for pipeline in (rows().p, rows().p.rebatch(3), rows().p.rebatch(3).rebatch(2)):
        with pytest.raises(DataError, match="state"):
            Flow(pipeline, Pass(4), {"where": 3})


def test_variables_and_models_get_batches_in_order_whatever_is_done_ahead():
    pipeline = (
        rows()
        .p.init_variable("order", [])
        .uneven_nap()
        .update_variable("order", Component("iteration"), "append")
        .uneven_nap()
        .train_counted()
    )
    pipeline.run(2, prefetch=5)
    counted = pipeline.get_model_by_name("counted")
    assert pipeline.get_variable("order") == counted["batches"] == list(range(12))
    assert counted["threads"] == {threading.current_thread().name}


def test_a_depth_keeps_one_more_under_way_and_no_more():
    at_work, most = [], []
    rows(40).p.count_at_work(at_work, most).run(1, prefetch=3)
    assert 1 < max(most) <= 4


def test_nothing_is_drawn_further_ahead_than_the_depth():
    drawn = []
    pipeline = rows(40).p.call(lambda batch: drawn.append(batch.iteration))
    batches = pipeline.gen_batch(1, prefetch=3)
    for number in range(5):
        next(batches)
        time.sleep(0.01)
        assert max(drawn) <= number + 4
    batches.close()


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_an_error_comes_where_its_batch_would_have_come(depth):
    batches = rows().p.uneven_nap().fail_at(2, 3).gen_batch(2, prefetch=depth)
    assert [next(batches).iteration, next(batches).iteration] == [0, 1]
    with pytest.raises(LookupError, match="batch 2") as caught:
        next(batches)
    assert "step fail_at(2, 3), on batch 2 (items 4, 5)" in caught.value.__notes__[0]
    assert our_threads() == []
    with pytest.raises(StopIteration):
        next(batches)


@pytest.mark.parametrize("depth", [0, 3])
def test_an_error_of_the_walk_comes_after_the_batches_before_it(depth):
    calls = []

    def order(ids):
        calls.append(1)
        if len(calls) == 2:
            raise LookupError("no order")
        return ids

    batches = rows(4).p.gen_batch(2, shuffle=order, n_epochs=2, prefetch=depth)
    found = []
    with pytest.raises(LookupError, match="no order"):
        found.extend(batches)  # ends at the error
    assert calls == [1, 1]


@pytest.mark.parametrize(("steps", "together"), [("alone", 1), ("all_alone", 1), ("crowded", 2)])
def test_a_lock_is_held_by_one_thread_at_a_time(steps, together):
    at_work, most = [], []
    getattr(rows().p, steps)(at_work, most).run(1, prefetch=4)
    assert len(most) == ITEMS
    assert min(max(most), 2) == together


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_a_lock_is_free_again_after_an_error(depth):
    pipeline = rows().p.fail_holding_a_lock()
    with pytest.raises(LookupError):
        pipeline.run(2, prefetch=depth)
    taken = threading.Thread(target=lambda: pipeline.lock("lock").__enter__(), daemon=True)
    taken.start()
    taken.join(5)
    assert not taken.is_alive()


def test_leaving_early_leaves_no_thread():
    pipeline = rows().p.uneven_nap()
    for batch in pipeline.gen_batch(2, prefetch=4):
        if batch.iteration == 1:
            break
    assert our_threads() == []
    batches = pipeline.gen_batch(2, prefetch=4)
    next(batches)
    del batches
    gc.collect()
    assert our_threads() == []
    pipeline.next_batch(2, prefetch=2)
    pipeline.reset("iter")


def test_batches_that_are_skipped_are_left_out_and_the_rest_goes_on():
    for depth in (0, 3):
        batches = rows().p.skip_every(2).add(1).gen_batch(4, prefetch=depth)
        assert [batch.iteration for batch in batches] == [1, 3, 5]


def test_joined_batches_are_the_first_arguments_of_the_next_action():
    pipeline = rows(4).p.join(rows(4, 10).p, rows(8, 20).p.add(1)).plus()
    batch = next(pipeline.gen_batch(2))
    assert batch.y.tolist() == [10 + 21, 11 + 22]
    assert batch.x.tolist() == [0, 1]


def test_a_joined_pipeline_goes_round_unless_it_is_told_otherwise():
    found = xs(rows(4).p.merge(rows(2, 10).p).gen_batch(2))
    assert found == [[0, 1, 10, 11], [2, 3, 10, 11]]
    once = rows(2, 10).p.run(2, n_epochs=1, lazy=True)
    with pytest.raises(DataError, match="ended before.*n_epochs=None, lazy=True"):
        list(rows(4).p.merge(once).gen_batch(2))


def test_merged_batches_may_be_made_one_by_a_function():
    pipeline = rows(2).p.merge(rows(2, 10).p, function=lambda batches: batches[1])
    assert xs(pipeline.gen_batch(2)) == [[10, 11]]
    wrong = rows(2).p.merge(rows(2).p, function=len)
    with pytest.raises(DataError, match="must return a batch"):
        wrong.run(2)


def test_what_can_not_be_joined_is_refused():
    with pytest.raises(DataError, match="data set of its own"):
        rows().p.join(Pipeline())
    with pytest.raises(ParamsError, match="other pipelines"):
        rows().p.merge(rows())
    for pipeline in (
        rows().p.join(rows().p),
        rows().p.join(rows().p).rebatch(2),
        rows().p.join(rows().p) + Pipeline().add(1) @ 0.5,
    ):
        with pytest.raises(ParamsError, match="must be followed by an action"):
            pipeline.run(2)


def test_a_batch_size_is_changed_on_the_way():
    assert xs(rows(7).p.rebatch(3).add(1).gen_batch(2)) == [[1, 2, 3], [4, 5, 6], [7]]
    assert xs(rows(7).p.rebatch(2, drop_last=True).gen_batch(7)) == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ParamsError, match="1 or more"):
        rows().p.rebatch(0)


def test_epochs_and_batches_end_a_pass_whichever_is_first():
    assert len(list(rows(4).p.gen_batch(2, n_iters=3))) == 3
    assert len(list(rows(4).p.gen_batch(2, n_epochs=1, n_iters=3, prefetch=4))) == 2
    assert xs(rows(4).p.gen_batch(3, n_epochs=2)) == [[0, 1, 2], [3, 0, 1], [2, 3]]
    assert xs(rows(4).p.gen_batch(3, n_epochs=2, drop_last=True)) == [[0, 1, 2]] * 2

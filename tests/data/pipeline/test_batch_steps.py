"""Doing steps to one batch: what a step gets, what is counted, and what is said of errors."""

import threading

import numpy as np
import pytest

from dovetail.data.batches.actions import SkipBatch, action
from dovetail.data.batches.batch import Batch
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.datasets.walk import Walk
from dovetail.data.pipeline.batch_steps import Carried, Steps, Timings
from dovetail.data.pipeline.pipeline import Pipeline
from dovetail.errors import DataError


class Stepped(Batch):
    components = ("x",)

    @action
    def add(self, n):
        self.x = self.x + n
        return self

    @action
    def skip(self):
        raise SkipBatch

    @action
    def fail(self):
        raise LookupError("as told")

    @action
    def anew(self):
        return Stepped(self.indices, preloaded=(np.zeros(len(self)),))

    @action(use_lock=True)
    def locked(self):
        return self


DATA = Dataset(4, Stepped, preloaded=(np.arange(4),))


def carried(size=4, seed=3):
    selection = next(Walk(DATA.index, size, seed=seed))
    return Carried(DATA.create_batch(selection, DATA.p), seed=seed, iteration=selection.iteration)


def done(pipeline, timings=None):
    one = carried()
    return Steps(pipeline.steps, timings)(one, DATA.p)


def test_steps_are_done_in_order_and_a_skipped_batch_is_none():
    one = done(Pipeline().add(1).add(2))
    assert one is not None
    assert one.batch.x.tolist() == [3, 4, 5, 6]
    assert done(Pipeline().add(1).skip().fail()) is None


def test_what_comes_of_a_batch_of_its_own_belongs_to_the_run():
    one = done(Pipeline().anew())
    assert one is not None
    assert one.batch.pipeline is not None
    assert (one.batch.seed, one.batch.iteration) == (3, 0)


def test_an_error_is_noted_once_with_its_own_step():
    with pytest.raises(LookupError) as caught:
        done((Pipeline().add(1) + Pipeline().fail() @ 1) @ 1)
    assert caught.value.__notes__ == [
        "In the pipeline's step fail(), on batch 0 (items 0, 1, 2, 3)."
    ]


def test_steps_that_fail_or_skip_are_counted_too():
    timings, pipeline = Timings(), Pipeline().add(1).skip()
    steps = Steps(pipeline.steps, timings)
    for _ in range(3):
        steps(carried(), DATA.p)
    assert [timings.entry(step)[0] for step in pipeline.steps] == [3, 3]


def test_no_count_is_lost_among_threads():
    timings, pipeline = Timings(), Pipeline().locked() * 3
    steps = Steps(pipeline.steps, timings)
    over = DATA.p

    def work():
        for _ in range(200):
            steps(carried(1), over)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert timings.entry(pipeline.steps[0])[0] == 4 * 200 * 3  # one step, done three times over


def test_a_predicate_of_another_length_is_refused():
    with pytest.raises(DataError, match="one for each of its 4 items; it returned bool"):
        done(Pipeline().filter(lambda batch: np.array([True, False])))

"""Where a pipeline is cut: what may be done ahead, and what in order."""

import pytest

from dovetail.data.batches.actions import action
from dovetail.data.batches.batch import Batch
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.pipeline.pipeline import Pipeline
from dovetail.data.pipeline.stages import Stage, in_order, stages
from dovetail.errors import ParamsError


class Staged(Batch):
    @action
    def plain(self):
        return self

    @action(model="net")
    def train(self, net):
        return self


def cut(pipeline, *, ahead=True):
    found = stages(pipeline.steps, Staged, ahead=ahead)
    return [
        (" ".join(map(str, one.steps)), one.ahead) if isinstance(one, Stage) else str(one)
        for one in found
    ]


def test_from_the_first_action_on_a_model_all_is_in_order():
    pipeline = Pipeline().plain().train().plain().rebatch(3).plain()
    assert cut(pipeline) == [
        ("plain()", True),
        ("train() plain()", False),
        "rebatch 3",
        ("plain()", False),
    ]


def test_an_action_on_a_model_within_a_choice_counts():
    pipeline = Pipeline().plain() + Pipeline().plain().train() @ 0.5
    assert cut(pipeline) == [("plain()", True), ("with probability 0.5", False)]


def test_writing_a_variable_is_in_order_and_what_follows_may_be_ahead_again():
    pipeline = Pipeline().plain().update_variable("v", 1).plain()
    assert cut(pipeline) == [
        ("plain()", True),
        ("update_variable v (set) 1", False),
        ("plain()", True),
    ]


def test_there_is_a_stage_that_begins_even_if_nothing_is_done():
    assert cut(Pipeline()) == [("", True)]
    assert cut(Pipeline().rebatch(2)) == [("", True), "rebatch 2"]
    assert cut(Pipeline().train()) == [("", True), ("train()", False)]


def test_if_nothing_is_ahead_there_are_no_cuts():
    pipeline = Pipeline().plain().update_variable("v", 1).train()
    assert len(cut(pipeline, ahead=False)) == 1


def test_what_must_not_be_done_twice_is_known():
    assert in_order(stages(Pipeline().train().steps, Staged, ahead=True))
    assert in_order(stages(Pipeline().update_variable("v", 1).steps, Staged, ahead=True))
    assert not in_order(stages(Pipeline().plain().rebatch(2).steps, Staged, ahead=True))


def test_a_join_that_no_action_follows_is_refused():
    other = Dataset(3).p
    assert "plain()" in str(cut(Pipeline().join(other).filter(len).call(len).plain()))
    for pipeline in (Pipeline().join(other), Pipeline().join(other).rebatch(2).plain()):
        with pytest.raises(ParamsError, match="'join 1 pipeline' must be followed by an action"):
            cut(pipeline)

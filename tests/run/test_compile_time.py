"""Compiling counts as compiling, and nothing is left behind in torch."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.callback import callback_handler

from dovetail.run.compile_time import counted
from dovetail.run.event_files import read_scalars
from dovetail.run.goodput import Goodput
from dovetail.run.hooks import Hook
from dovetail.run.status import status


def callbacks():
    return len(callback_handler.start_callbacks), len(callback_handler.end_callbacks)


def test_a_second_call_compiles_nothing():
    goodput = Goodput()
    goodput.switch("step")
    doubled = torch.compile(lambda x: x * 2, backend="eager")
    with counted(goodput):
        doubled(torch.ones(3))
        once = goodput.seconds["compile"]
        doubled(torch.ones(3))
    assert once > 0
    assert goodput.seconds["compile"] == once
    assert goodput.phase == "step"


def test_nothing_stays_registered_after_an_error_or_a_reset():
    before = callbacks()
    with pytest.raises(ValueError), counted(Goodput()):
        raise ValueError
    assert callbacks() == before
    with counted(Goodput()):
        callback_handler.clear()  # as torch.compiler.reset() does
    assert callbacks() == (0, 0)


def test_a_compilation_that_fails_ends_too():
    def refuse(graph, inputs):
        raise RuntimeError("this backend compiles nothing")

    goodput = Goodput()
    goodput.switch("step")
    with counted(goodput), pytest.raises(Exception, match="compiles nothing"):
        torch.compile(lambda x: x + 1, backend=refuse)(torch.ones(2))
    assert goodput.phase == "step"


def test_a_run_tells_what_compiling_took(make, records):
    class Compiles(Hook):
        def after_step(self, run, output):
            if run.step == 2:
                torch.compile(lambda x: x - 1, backend="eager")(torch.ones(2))

    estimator = make(save_summary_steps=1)
    estimator.train(str(records), max_steps=3, hooks=[Compiles()])
    assert status(estimator.model_dir).goodput["compile"] > 0
    assert [step for step, share in read_scalars(estimator.model_dir)["goodput/compile"]] == [3]

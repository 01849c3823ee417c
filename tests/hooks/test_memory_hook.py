"""Memory in the event log, and its limits."""

from __future__ import annotations

import pytest
import torch

from dovetail import hooks
from dovetail.errors import ParamsError
from dovetail.hooks import memory
from dovetail.run.summaries import read_scalars


def test_the_memory_of_the_process_is_a_curve(train):
    done = train(hooks.Memory(every_steps=10))
    curve = read_scalars(done.folder)["memory/process"]
    assert [step for step, _ in curve] == [1, 10, 20]
    assert all(0.01 < gb < 100 for _, gb in curve)


def test_memory_that_is_taken_is_seen():
    before = memory.process_bytes()
    taken = torch.ones(25_000_000)
    assert memory.process_bytes() - before > 0.8 * 4 * len(taken)


def test_a_limit_is_warned_of_once_until_there_is_a_tenth_more(train, monkeypatch):
    sizes = iter([1e9, 2.1e9, 2.2e9, 2.4e9, 2.4e9])
    monkeypatch.setattr(memory, "process_bytes", lambda: next(sizes))
    lines = train(hooks.Memory(limit_gb=2, every_steps=1), steps=5).lines
    assert [line.split(", more")[0] for line in lines] == [
        "Memory: the process uses 2.10 GB at step 2",
        "Memory: the process uses 2.40 GB at step 4",
    ]


def test_a_device_has_curves_and_a_limit_of_its_own(train, monkeypatch):
    monkeypatch.setattr(memory, "_of_device", lambda device: {"memory/peak": 9.0})
    done = train(hooks.Memory(device_limit_gb=8), steps=2)
    assert read_scalars(done.folder)["memory/peak"] == [(1, 9.0)]
    assert done.lines == [
        "Memory: cpu uses 9.00 GB at step 1, more than the 8.00 GB it was to stay within."
    ]


def test_a_limit_is_above_zero():
    with pytest.raises(ParamsError, match="limit_gb=0; it must be more than 0 GB"):
        hooks.Memory(limit_gb=0)


def test_an_evaluation_has_no_event_log(train, input_fn):
    estimator = train(steps=1).estimator
    with pytest.raises(ParamsError, match=r"hooks\.Memory writes .* give it to train"):
        estimator.evaluate(input_fn, hooks=[hooks.Memory()])

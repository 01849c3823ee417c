"""All ready hooks in one run, and in evaluations and predictions."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pandas
import pytest
import torch

import dovetail
from dovetail import hooks, layers, metrics, optimizers, summary
from dovetail.run.checkpoint import load


def noisy_model_fn(features, labels, mode, params):
    x = features["photo"].float().flatten(1) / 255
    x = layers.dropout(layers.fully_connected(x, 4), keep_prob=0.5)
    y = layers.fully_connected(x, 1, activation_fn=None)
    loss = torch.mean((y - labels) ** 2)
    summary.scalar("spread", y.detach().std())
    return dovetail.EstimatorSpec(
        mode,
        {"y": y},
        loss,
        optimizers.Adam(0.01, clip_norm=1.0).minimize(loss),
        {"error": metrics.mean_absolute_error(labels, y)},
    )


def every_hook():
    return [
        hooks.Log(every_steps=2, at_end=True),
        hooks.CsvLog(every_steps=2),
        hooks.JsonLinesLog(every_secs=0.001),
        hooks.Memory(every_steps=3),
        hooks.StepTimes(every_steps=3),
        hooks.Histograms(every_steps=3),
        hooks.Images(every_steps=3),
        hooks.NanWatch(),
        hooks.Profile(wait=2, warmup=1, active=1),
        hooks.StopAfter(hours=1),
        hooks.StopOnNotice("STOP"),
        hooks.StopWhen(lambda run, output: output["loss"] < 0),
        hooks.StopAtStep(100),
    ]


def test_hooks_change_nothing_of_what_is_computed(train):
    ends = [
        load(train(*looking, name=name, model_fn=noisy_model_fn).estimator.latest_checkpoint())
        for name, looking in (("none", []), ("all", every_hook()))
    ]
    assert ends[0].model.keys() == ends[1].model.keys()
    for name, value in ends[0].model.items():
        assert torch.equal(value, ends[1].model[name]), name
    for name, value in ends[0].optimizer.items():
        other = ends[1].optimizer[name]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


@pytest.mark.parametrize("execution", ["eager", "compiled"])
def test_hooks_read_what_a_step_of_each_execution_gives(train, monkeypatch, execution):
    # Traced, but not translated to C++, which takes long.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    log = hooks.Log(["loss", "error", "spread", "y"], every_steps=2)
    done = train(log, steps=2, execution=execution)
    assert [line.split(":")[0] for line in done.lines] == ["step 1", "step 2"]


def test_hooks_that_are_not_of_a_training_work_in_evaluations_and_predictions(
    train, input_fn, capsys
):
    estimator = train(steps=1).estimator
    looking = [
        hooks.Log(every_steps=5),
        hooks.NanWatch(),
        hooks.StepTimes(every_steps=5),
        hooks.Profile(wait=1, warmup=1, active=1),
        hooks.StopWhen(lambda run, output: False),
    ]
    estimator.evaluate(input_fn, hooks=looking, steps=10)
    printed = capsys.readouterr().err
    assert "error" in printed
    assert "StepTimes: 9 steps" in printed
    assert "Profile: steps 3 to 3" in printed
    predicted = estimator.predict(
        input_fn, hooks=[hooks.Log("y", every_steps=5), hooks.NanWatch("y")]
    )
    assert sum(1 for _ in predicted) == 800
    assert capsys.readouterr().err.count("y [[") == 21


def test_evaluations_beside_training_are_in_the_logs(train, input_fn):
    estimator = train(steps=1, save_checkpoints_steps=4).estimator
    dovetail.train_and_evaluate(
        estimator,
        dovetail.TrainSpec(
            input_fn,
            max_steps=12,
            hooks=[
                hooks.CsvLog(names="loss", every_steps=4),
                hooks.JsonLinesLog(names="loss", every_steps=4),
                hooks.Log("loss", every_steps=1000, at_end=True),
            ],
        ),
        [
            dovetail.EvalSpec(input_fn, steps=3),
            dovetail.EvalSpec(input_fn, steps=3, name="again"),
        ],
    )
    table = pandas.read_csv(Path(estimator.model_dir, "log.csv"))
    table = table[table["step"] > 1]
    for column in ("eval/error", "eval/loss", "eval_again/error"):
        assert list(table["step"][table[column].notna()]) == [4, 8, 12]
    assert list(table["step"][table["loss"].notna()]) == [4, 8, 12]
    lines = Path(estimator.model_dir, "log.jsonl").read_text().splitlines()
    found = [row for row in map(json.loads, lines) if row["step"] > 1]
    assert [row["step"] for row in found if "eval_again/loss" in row] == [4, 8, 12]

"""The numbers of a batch and of an evaluation."""

from __future__ import annotations

import pytest
import torch

import dovetail
from dovetail import layers, metrics, optimizers
from dovetail.definition.modes import ModeKeys
from dovetail.errors import DefinitionError
from dovetail.run.measures import HostCall, MeanLoss, measured


def test_a_mean_loss_weighs_by_examples_a_number_or_a_tensor():
    losses = [torch.tensor(1.0), torch.tensor(4.0)]

    def mean(stated, examples, weights=None):
        loss = MeanLoss(torch.device("cpu"))
        for i, value in enumerate(losses):
            output = {"loss": value}
            if weights:
                output["loss_weight"] = torch.tensor(weights[i])
            loss.update(output, stated, examples[i])
        return loss.compute()

    assert mean(None, [1, 2]) == 3.0
    assert mean(5.0, [1, 2]) == 2.5
    assert mean("tensor", [1, 2], weights=[2.0, 1.0]) == 2.0
    assert mean("sum", [1, 2]) == 5.0


def test_a_mean_loss_does_not_lose_small_parts():
    loss = MeanLoss(torch.device("cpu"))
    for _ in range(20_000):
        loss.update({"loss": torch.tensor(0.1)}, None, 1000)
    assert loss.compute() == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_a_training_step_shows_loss_rate_and_scalar_metrics_only():
    def model_fn(features, labels, mode):
        y = layers.fully_connected(features, 2, activation_fn=None)
        loss = torch.mean((y - labels) ** 2)
        ops = {
            "mae": metrics.mean_absolute_error(labels, y),
            "per_example": (y - labels).abs().mean(1),
        }
        train_op = optimizers.SGD(optimizers.schedules.Exponential(0.1, 1, 0.5)).minimize(loss)
        return dovetail.EstimatorSpec(mode, y, loss, train_op, ops)

    x = torch.ones(4, 3)
    program = dovetail.build(model_fn, device="cpu")
    for step in (0, 1):
        output = program.train_step(x, torch.zeros(4, 2))
        found = measured(program, output, output["loss"], 4)
        expected = output["metrics"]["mae"]["predictions"].abs().mean()
        assert found == {
            "loss": float(output["loss"]),
            "learning_rate": pytest.approx(0.1 * 0.5**step),
            "mae": pytest.approx(float(expected)),
            "per_example": pytest.approx(float(expected)),
        }


def test_a_definition_without_host_call_has_no_numbers_of_it():
    def model_fn(features, labels, mode):
        loss = layers.fully_connected(features, 1).mean()
        return dovetail.EstimatorSpec(mode, loss=loss, train_op=optimizers.SGD(0.1).minimize(loss))

    program = dovetail.build(model_fn, example=(torch.ones(2, 2), torch.ones(2)), device="cpu")
    host = HostCall(program.statics(ModeKeys.TRAIN))
    host.update({}, 3)
    assert host.compute() == {}


def test_a_host_function_can_not_take_the_name_of_the_loss():
    def model_fn(features, labels, mode):
        output = layers.fully_connected(features, 1, activation_fn=None)
        loss = output.mean()
        train_op = optimizers.SGD(0.1).minimize(loss)
        host_call = (lambda values: {"loss": values.mean()}, [output])
        return dovetail.EstimatorSpec(mode, output, loss, train_op, host_call=host_call)

    program = dovetail.build(model_fn, example=(torch.ones(2, 3), None), device="cpu")
    output = program.eval_step(torch.ones(2, 3))
    with pytest.raises(DefinitionError, match="host_call returned 'loss', which every evaluation"):
        HostCall(program.statics(ModeKeys.EVAL)).update(output, 2)

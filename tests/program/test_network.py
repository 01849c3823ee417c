"""The one module of a program, and the two halves of a spec."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dovetail
from dovetail import layers, metrics, optimizers
from dovetail.definition.modes import ModeKeys
from dovetail.errors import DefinitionError

X, Y = torch.ones(4, 3), torch.zeros(4, 1)


def built(model_fn):
    return dovetail.build(model_fn, example=(X, Y), device="cpu")


def test_parameters_are_named_as_layers_are():
    def model_fn(features, labels, mode):
        h = layers.block(lambda x: layers.fully_connected(x, 2), features, name="head")
        loss = F.mse_loss(layers.layer(nn.Linear, 2, 1)(h), labels)
        return dovetail.EstimatorSpec(mode, h, loss, optimizers.SGD(0.1).minimize(loss))

    program = built(model_fn)
    assert list(program.state()) == [
        "head.fully_connected.weight",
        "head.fully_connected.bias",
        "linear.weight",
        "linear.bias",
    ]


def everything(features, labels, mode):
    output = layers.layer(nn.Linear, 3, 1)(features)
    exported = {"scores": output, "both": {"scores": output}}
    if mode == ModeKeys.PREDICT:
        return dovetail.EstimatorSpec(mode, output, export_outputs=exported)
    loss = F.mse_loss(output, labels).reshape(1)
    return dovetail.EstimatorSpec(
        mode,
        output,
        loss,
        optimizers.SGD(0.1).minimize(2 * loss),
        host_call=(lambda a, b: {"sum": (a + b).mean()}, [output, labels]),
        export_outputs=exported,
        loss_weight=torch.ones(1),
    )


def test_the_tensors_of_a_spec_are_a_plain_dict():
    program = built(everything)
    output = program.train_step(X, Y)
    assert set(output) == {"loss", "loss_weight", "predictions", "train_losses", "host_call"}
    assert output["loss"].shape == output["loss_weight"].shape == ()
    torch.testing.assert_close(output["train_losses"]["optimizer"], 2 * output["loss"])
    assert set(output["predictions"]) == {"output"}
    assert len(output["host_call"]) == 2
    predicted = program.predict_step(X)
    assert set(predicted["export_outputs"]) == {"scores", "both"}
    assert set(predicted["export_outputs"]["scores"]) == {"output"}


def test_gradients_are_of_the_loss_given_to_minimize():
    program = built(everything)
    before = program.state()["linear.bias"].clone()
    loss = program.train_step(X, Y)["loss"]
    residual = loss.sqrt()
    torch.testing.assert_close(
        (before - program.state()["linear.bias"]).abs(), (0.1 * 2 * 2 * residual).reshape(1)
    )


def test_the_static_half_is_read_once_per_mode():
    program = built(everything)
    statics = program.statics(ModeKeys.TRAIN)
    assert statics.train_ops["optimizer"].optimizer == optimizers.SGD(0.1)
    assert statics.loss_weight == "tensor"
    assert statics.host_function(torch.ones(1), torch.ones(1)) == {"sum": 2}
    with pytest.raises(KeyError):
        program.statics(ModeKeys.EVAL)
    program.eval_step(X, Y)
    assert program.statics(ModeKeys.EVAL).train_ops == {}


def test_metrics_are_described_once_and_fed_each_batch():
    def model_fn(features, labels, mode):
        output = layers.layer(nn.Linear, 3, 1)(features)
        loss = F.mse_loss(output, labels)
        ops = {"mae": metrics.mean_absolute_error(labels, output), "each": (output - labels) ** 2}
        return dovetail.EstimatorSpec(mode, output, loss, optimizers.SGD(0.1).minimize(loss), ops)

    program = built(model_fn)
    rows = torch.arange(21.0).reshape(7, 3) / 10
    outputs = [program.eval_step(x, torch.zeros(len(x), 1)) for x in rows.split(3)]
    described = program.statics(ModeKeys.EVAL).metrics
    assert all(not op.tensors for op in described.values())
    state = metrics.MetricSet(described)
    for output in outputs:
        state.update(output["metrics"], weight=len(output["predictions"]["output"]))
    values = state.compute()
    predicted = torch.cat([output["predictions"]["output"] for output in outputs]).double()
    assert values["mae"] == pytest.approx(float(predicted.abs().mean()), abs=1e-6)
    assert values["each"] == pytest.approx(float((predicted**2).mean()), abs=1e-6)


def test_a_host_call_of_metrics_is_a_dict_of_metrics():
    def model_fn(features, labels, mode):
        output = layers.layer(nn.Linear, 3, 1)(features)
        loss = F.mse_loss(output, labels)
        return dovetail.CSEstimatorSpec(
            mode=mode,
            loss=loss,
            train_op=optimizers.SGD(0.1).minimize(loss),
            host_call={"mae": metrics.mean_absolute_error(labels, output)},
        )

    program = built(model_fn)
    assert set(program.eval_step(X, Y)["metrics"]["mae"]) == {"labels", "predictions"}
    assert list(program.statics(ModeKeys.EVAL).metrics) == ["mae"]
    assert program.statics(ModeKeys.EVAL).host_function is None


def test_a_layer_can_not_take_the_name_of_what_a_network_has():
    def model_fn(features, labels, mode):
        loss = layers.fully_connected(features, 1, scope="global_step").mean()
        return dovetail.EstimatorSpec(mode, loss=loss, train_op=optimizers.SGD(0.1).minimize(loss))

    with pytest.raises(DefinitionError, match="can't be named 'global_step'"):
        built(model_fn)

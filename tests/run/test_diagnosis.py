"""A loss that is not finite: the layer it came from is named, and the batch is kept."""

import json
import re

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import NanLossError
from dovetail.run.bad_batch import load_batch, save_batch
from dovetail.run.diagnosis import FiniteChecks, diagnose, explain

X = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(1))


class Explodes(nn.Module):
    """Gives inf for what is above a threshold."""

    def forward(self, x):
        return torch.where(x > 100, torch.inf, x)


class BadRoot(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(7))

    def forward(self, x):
        return torch.sqrt((x * self.scale).abs() * (x.abs() > 100))  # at 0 its gradient is nan


def built(middle=Explodes, loss_of=F.mse_loss, **settings):
    def model_fn(features, labels, mode):
        h = layers.layer(nn.Linear, 5, 7, name="body")(features)
        h = layers.layer(nn.BatchNorm1d, 7, name="norm")(layers.dropout(h, 0.9)) if 0 else h
        h = layers.layer(middle, name="middle")(h) if middle else h
        output = layers.layer(nn.Linear, 7, 1, name="head")(h)
        loss = loss_of(output, labels)
        return dovetail.EstimatorSpec(mode, output, loss, optimizers.SGD(0.1).minimize(loss))

    return dovetail.build(model_fn, example=(X, Y), device="cpu", **settings)


def test_the_layer_that_went_wrong_first_is_named():
    text = diagnose(built(), torch.where(X[3] == X, X * 1e5, X), Y, step=1)
    assert "the output of layer 'middle' (Explodes), of shape [8, 7] in float32" in text
    assert re.search(r"\d inf of 56 values, the rest from ", text)
    assert "its input, of shape [8, 7] in float32, from -" in text
    assert "The optimizer is SGD at learning rate 0.1, without clipping" in text


def test_the_part_is_named():
    x = X.clone()
    x[7] *= 1e6
    assert "The first not to be finite in part 4 of 4 was the output of layer" in diagnose(
        built(), x, Y, 1, parts=4
    )


def test_a_batch_that_is_not_finite_is_named_as_such():
    x = X.clone()
    x[2, 1] = torch.nan
    text = diagnose(built(), {"x": x}, Y, 1)
    assert "The batch itself holds values that are not finite: features['x']" in text
    assert "1 nan of 40 values" in text


def test_a_parameter_that_is_not_finite_is_named():
    program = built()
    with torch.no_grad():
        program.network.head.weight[0, 0] = torch.inf
    assert "The parameter 'head.weight' was not finite already" in diagnose(program, X, Y, 1)


def test_a_loss_that_fails_by_itself_is_told_from_a_layer():
    program = built(middle=None, loss_of=lambda output, labels: torch.log(output * 0).mean())
    text = diagnose(program, X, Y, 1)
    assert "Every layer's output is finite, the loss, -inf, is not" in text


def test_a_gradient_that_fails_names_its_parameter():
    text = diagnose(built(middle=BadRoot), X, Y, 1)
    assert (
        "Every output is finite; the first gradient that is not was that of 'middle.scale'" in text
    )


def test_a_step_that_is_finite_when_run_again_is_said_to_be():
    assert "Run again, the step is finite" in diagnose(built(), X, Y, 1)


def test_a_state_past_the_step_is_said():
    program = built()
    program.train_step(X, Y)
    program.train_step(X, Y)
    assert "parameters 2 steps later" in diagnose(program, X * 1e6, Y, 1)


def test_a_diagnosis_changes_nothing_and_raises_nothing():
    program = built(ema_decay=0.5)
    program.train_step(X, Y)
    before = {name: tensor.clone() for name, tensor in program.state().items()}
    gradients = {name: p.grad for name, p in program.network.named_parameters()}
    generator = torch.get_rng_state()
    diagnose(program, X * 1e6, Y, 2)
    assert "could not be found out" in diagnose(program, X[:, :3], Y, 2)
    for name, tensor in program.state().items():
        assert torch.equal(tensor, before[name]), name
    assert {n: p.grad for n, p in program.network.named_parameters()} == gradients
    assert torch.equal(torch.get_rng_state(), generator)
    assert program.network.global_step.item() == 1


def test_dropout_draws_what_it_drew():
    """Whether the layer fails hangs on the mask, so another mask would not find it."""

    def model_fn(features, labels, mode):
        h = layers.dropout(features, 0.5)
        h = layers.layer(nn.Identity, name="seen")(h)
        h = layers.layer(Explodes, name="middle")(h)
        output = layers.layer(nn.Linear, 5, 1, name="head")(h)
        loss = F.mse_loss(output, labels)
        return dovetail.EstimatorSpec(mode, output, loss, optimizers.SGD(1e-9).minimize(loss))

    x = torch.zeros(8, 5)
    x[0, 0] = 99  # doubled where it is kept
    program = dovetail.build(model_fn, example=(x, Y), device="cpu")
    outcomes = set()
    for step in range(1, 9):
        failed = not bool(torch.isfinite(program.train_step(x, Y)["loss"]))
        program.global_step = step - 1
        program.network.load_state_dict(
            {name: torch.zeros_like(t) for name, t in program.state().items()}
        )
        assert ("'middle'" in diagnose(program, x, Y, step)) == failed
        program.global_step = step
        outcomes.add(failed)
    assert outcomes == {True, False}


# Checks of every step.


def checked(program, x, y, **settings):
    with FiniteChecks(program) as checks:
        program.before_update = checks.before_update
        try:
            program.train_step(x, y, **settings)
        finally:
            program.before_update = None


def test_checks_name_the_layer_before_the_update():
    program = built()
    checked(program, X, Y)
    before = {name: tensor.clone() for name, tensor in program.state().items()}
    with pytest.raises(
        NanLossError, match="At step 2 the first .* the output of layer 'middle'"
    ) as e:
        checked(program, X * 1e6, Y, parts=2)
    assert e.value.step == 2
    for name, tensor in program.state().items():
        assert torch.equal(tensor, before[name]), name


def test_checks_name_a_gradient():
    with pytest.raises(NanLossError, match=r"gradient of 'middle.scale', of shape \[7\]"):
        checked(built(middle=BadRoot), X, Y)


def test_checks_leave_no_hook_and_let_evaluation_be():
    program = built()
    with FiniteChecks(program):
        program.eval_step(X * 1e6, Y)
    assert not any(m._forward_hooks for m in program.network.modules())


# The batch.


def test_a_batch_is_read_back_without_us(tmp_path):
    features = {"image": X, "pair": [Y, torch.tensor([1, 2])], "name": ["a", "b"], "n": [1.5, 2.5]}
    path = save_batch(tmp_path, 12, features, Y[::2])
    plain = safetensors.torch.load_file(path)
    assert set(plain) == {
        *("features/image", "features/pair/0", "features/pair/1", "features/n", "labels"),
    }
    assert json.loads(path.with_suffix(".json").read_text())["step"] == 12
    again, labels = load_batch(path)
    assert torch.equal(again["image"], X)
    assert torch.equal(labels, Y[::2])
    assert again["name"] == "['a', 'b']"
    assert load_batch(save_batch(tmp_path, 13, X, None))[1] is None


def test_an_error_is_explained_once(tmp_path):
    error = NanLossError("The loss is nan at step 1.", 1)
    explain(error, built(), X * 1e6, Y, step=1, parts=1, model_dir=tmp_path)
    assert (
        "The loss is nan at step 1. The first not to be finite was the output of layer 'middle'"
        in str(error)
    )
    assert f"The batch is saved in {tmp_path}" in str(error)


def test_of_an_error_found_late_no_other_step_s_batch_is_blamed(tmp_path):
    error = NanLossError("The loss is nan at step 1.", 1)
    explain(error, built(), X, Y, step=50, parts=1, model_dir=tmp_path)
    assert str(error) == "The loss is nan at step 1."
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("settings", [{"execution": "compiled"}, {"recompute": ["body", "middle"]}])
def test_steps_that_are_compiled_or_recomputed_are_looked_at_too(settings):
    program = built(**settings)
    checked(program, X, Y)
    with pytest.raises(NanLossError, match="the output of layer 'middle'"):
        checked(program, X * 1e6, Y)
    assert program.execution == settings.get("execution", "auto")
    assert "the output of layer 'middle'" in diagnose(program, X * 1e6, Y, 2)

"""A program's state goes to a checkpoint and comes back, or is refused with what differs."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import CheckpointError, NanLossError
from dovetail.program.program import Program
from dovetail.run import checkpoint, saving
from dovetail.run.estimator import Estimator


def a_program(width: int = 4, optimizer=None, name: str = "hidden", seed: int = 0) -> Program:
    description = optimizer or optimizers.Adam(0.1)

    def model_fn(features, labels, mode):
        x = layers.fully_connected(features, width, scope=name)
        x = layers.batch_norm(x)
        y = layers.fully_connected(x, 1, activation_fn=None, scope="output")
        if mode == dovetail.ModeKeys.PREDICT:
            return dovetail.EstimatorSpec(mode, y)
        loss = torch.mean((y - labels) ** 2)
        return dovetail.EstimatorSpec(mode, y, loss, description.minimize(loss))

    return dovetail.build(model_fn, device="cpu", seed=seed)


X, Y = torch.arange(12.0).reshape(4, 3) / 10, torch.ones(4, 1)


def trained(steps: int = 3, **kwargs) -> Program:
    program = a_program(**kwargs)
    for _ in range(steps):
        program.train_step(X, Y)
        program.position += 4
    return program


def test_a_restored_program_goes_on_bit_for_bit(tmp_path: Path):
    one = trained()
    path = saving.save(one, tmp_path)
    other = a_program(seed=9)
    other.build(X, Y)
    saving.restore(other, checkpoint.load(path))
    assert (other.global_step, other.position) == (3, 12)
    for _ in range(3):
        a, b = one.train_step(X, Y), other.train_step(X, Y)
        # Seeds differ, and nothing random is in this model.
        assert torch.equal(a["loss"], b["loss"])
    for name, tensor in one.state().items():
        assert torch.equal(tensor, other.state()[name]), name


def test_a_checkpoint_is_read_by_plain_safetensors(tmp_path: Path):
    program = trained()
    path = saving.save(program, tmp_path)
    assert path == tmp_path / "checkpoints" / "0000000003"
    assert saving.step_of(path) == 3
    found = safetensors.torch.load_file(path / "model.safetensors")
    assert set(found) == set(program.state())
    assert torch.equal(found["hidden.weight"], program.state()["hidden.weight"])


def test_a_program_built_for_prediction_takes_what_it_has(tmp_path: Path):
    program = trained()
    path = saving.save(program, tmp_path)
    reader = a_program(seed=9)
    reader.build(X, None, dovetail.ModeKeys.PREDICT)
    saving.restore(reader, checkpoint.load(path))
    expected = program.predict_step(X)["predictions"]["output"]
    assert torch.equal(reader.predict_step(X)["predictions"]["output"], expected)


def test_another_definition_is_refused_with_all_that_differs_and_nothing_changed(tmp_path: Path):
    path = saving.save(trained(), tmp_path)
    other = a_program(width=5, name="middle", seed=9)
    other.build(X, Y)
    before = {name: tensor.clone() for name, tensor in other.state().items()}
    with pytest.raises(CheckpointError) as caught:
        saving.restore(other, checkpoint.load(path))
    said = str(caught.value)
    assert "is of another definition than model_fn" in said
    assert "missing in the checkpoint (2): middle.weight (5, 3), middle.bias (5)" in said
    assert "only in the checkpoint (2): hidden.weight (4, 3), hidden.bias (4)" in said
    assert "output.weight (expected (1, 5), found (1, 4))" in said
    assert "Use the definition that it was trained with, or another model_dir." in said
    for name, tensor in other.state().items():
        assert torch.equal(tensor, before[name])
    assert other.global_step == 0


def test_another_optimizer_is_refused_and_nothing_changed(tmp_path: Path):
    path = saving.save(trained(), tmp_path)
    other = a_program(optimizer=optimizers.SGD(0.1), seed=9)
    other.build(X, Y)
    before = {name: tensor.clone() for name, tensor in other.state().items()}
    with pytest.raises(CheckpointError, match="optimizer Adam, the definition has SGD"):
        saving.restore(other, checkpoint.load(path))
    for name, tensor in other.state().items():
        assert torch.equal(tensor, before[name])


def test_another_learning_rate_of_the_definition_holds(tmp_path: Path):
    path = saving.save(trained(), tmp_path)
    other = a_program(optimizer=optimizers.Adam(0.001))
    other.build(X, Y)
    saving.restore(other, checkpoint.load(path))
    other.train_step(X, Y)
    assert other.learning_rate == 0.001


def test_several_optimizers_keep_their_own_states(tmp_path: Path):
    def model_fn(features, labels, mode):
        a = layers.fully_connected(features, 1, activation_fn=None, scope="a")
        b = layers.fully_connected(features, 1, activation_fn=None, scope="b")
        losses = torch.mean((a - labels) ** 2), torch.mean((b + labels) ** 2)
        ops = {
            "first": optimizers.Adam(0.1).minimize(losses[0], var_list=["a.*"]),
            "second": optimizers.Momentum(0.1, 0.9).minimize(losses[1], var_list=["b.*"]),
        }
        return dovetail.EstimatorSpec(mode, a, losses[0] + losses[1], ops)

    one = dovetail.build(model_fn, device="cpu")
    for _ in range(2):
        one.train_step(X, Y)
    other = dovetail.build(model_fn, example=(X, Y), device="cpu", seed=5)
    saving.restore(other, checkpoint.load(saving.save(one, tmp_path)))
    for _ in range(2):
        one.train_step(X, Y)
        other.train_step(X, Y)
    for name, tensor in one.state().items():
        assert torch.equal(tensor, other.state()[name]), name


def test_a_parameter_that_is_not_finite_is_not_saved(tmp_path: Path):
    program = trained()
    kept = saving.save(program, tmp_path)
    program.train_step(X, Y)
    with torch.no_grad():
        program.state()["output.weight"][0, 0] = torch.inf
    with pytest.raises(NanLossError, match="'output.weight' is not finite after step 4") as caught:
        saving.save(program, tmp_path)
    assert caught.value.step == 4
    assert checkpoint.listed(tmp_path) == [kept]


def test_a_checkpoint_of_other_params_says_which_changed(tmp_path: Path):
    def model_fn(features, labels, mode, params):
        output = layers.fully_connected(features["x"], params.width)
        loss = output.mean()
        return dovetail.EstimatorSpec(mode, output, loss, optimizers.SGD(0.1).minimize(loss))

    def input_fn():
        return [({"x": torch.ones(4, 2)}, torch.ones(4))]

    config = dovetail.RunConfig(str(tmp_path), progress=False)
    Estimator(model_fn, config=config, params={"width": 3, "batch_size": 8}).train(input_fn)
    other = Estimator(model_fn, config=config, params={"width": 5})
    with pytest.raises(CheckpointError, match="width was 3 and is 5") as raised:
        other.evaluate(input_fn)
    assert "batch_size" not in str(raised.value)

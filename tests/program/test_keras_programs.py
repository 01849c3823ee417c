"""What programs of Keras models are put through: copies, tracing, half precision, warm starts."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from typer.testing import CliRunner

import dovetail
from dovetail import layers
from dovetail.cli.main import app
from dovetail.errors import DefinitionError
from dovetail.layers.keras.layer import KerasLayer
from dovetail.program.program import Program

MODEL = """
import keras
import torch

import dovetail

inputs = keras.Input((6,), name="x")
x = keras.layers.Dense(8, activation="relu", kernel_regularizer="l2")(inputs)
x = keras.layers.BatchNormalization()(x)
x = keras.layers.Dropout(0.5)(x)
model = keras.Model(inputs, keras.layers.Dense(2)(x))


def loss(output, labels):
    return torch.nn.functional.cross_entropy(output, labels)


def optimizer(lr=0.1):
    return dovetail.optimizers.Momentum(lr)
"""
SUBCLASS = (
    MODEL.partition("inputs =")[0]
    + """
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(8, activation="relu")
        self.normal = keras.layers.BatchNormalization()
        self.dropout = keras.layers.Dropout(0.5)
        self.last = keras.layers.Dense(2)

    def call(self, x, training=False):
        x = self.normal(self.first(x), training=training)
        return self.last(self.dropout(x, training=training))

model = Net()
"""
    + MODEL.partition("keras.layers.Dense(2)(x))")[2]
)
FILES = {"functional": MODEL, "subclass": SUBCLASS}
X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 2


@pytest.fixture(params=FILES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / "net.py"
    file.write_text(FILES[request.param])
    return file


def made(path: Path, **settings: Any) -> Program:
    return dovetail.build(path, device="cpu", example=({"x": X}, Y), **settings)


def predicted(program: Program) -> torch.Tensor:
    return program.predict_step({"x": X})["predictions"]["output"]


def test_a_copied_program_goes_its_own_way(path: Path) -> None:
    program = made(path)
    program.train_step({"x": X}, Y)
    twin = copy.deepcopy(program.network)
    twin.train(False)
    twin.mode = dovetail.ModeKeys.PREDICT
    before = predicted(program)
    assert torch.equal(twin({"x": X})["predictions"]["output"], before)
    program.train_step({"x": X}, Y)
    assert not torch.equal(predicted(program), before)
    assert torch.equal(twin({"x": X})["predictions"]["output"], before)


def test_prediction_exports_with_an_open_batch_size(path: Path) -> None:
    program = made(path)
    program.train_step({"x": X}, Y)
    expected = predicted(program)
    network = program.network
    network.train(False)
    network.mode = dovetail.ModeKeys.PREDICT
    exported = torch.export.export(
        network,
        ({"x": X},),
        dynamic_shapes={"features": {"x": {0: torch.export.Dim("batch")}}},
        strict=False,
    )
    run: Any = exported.module()
    assert torch.equal(run({"x": X})["predictions"]["output"], expected)
    torch.testing.assert_close(run({"x": X[:5]})["predictions"]["output"], expected[:5])
    assert torch.equal(predicted(program), expected)  # the program is as it was
    program.train_step({"x": X}, Y)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # inductor's imports
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # where a graph is broken
def test_compiled_steps_are_near_eager_ones(path: Path) -> None:
    eager, compiled = made(path), made(path, execution="compiled")
    for _ in range(3):
        first, second = (p.train_step({"x": X}, Y)["loss"] for p in (eager, compiled))
        torch.testing.assert_close(first, second)
    first, second = (p.eval_step({"x": X}, Y)["loss"] for p in (eager, compiled))
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(predicted(eager), predicted(compiled))
    for name, value in eager.state().items():
        torch.testing.assert_close(value, compiled.state()[name])


def test_parts_of_a_batch_are_one_step() -> None:
    # Without dropout and batch norm, which are computed for each part.
    def net(features: Any, labels: Any, mode: Any) -> dovetail.EstimatorSpec:
        hidden = layers.layer(keras.layers.Dense, 4, kernel_regularizer="l2")(features)
        output = layers.layer(keras.layers.Dense, 2)(hidden)
        loss = torch.nn.functional.cross_entropy(output, labels) + layers.regularization_loss()
        train_op = dovetail.optimizers.SGD(0.1).minimize(loss)
        return dovetail.EstimatorSpec(mode, output, loss, train_op)

    whole, parted = dovetail.build(net, device="cpu"), dovetail.build(net, device="cpu")
    for _ in range(3):
        losses = whole.train_step(X, Y)["loss"], parted.train_step(X, Y, parts=5)["loss"]
        torch.testing.assert_close(*losses)
    for name, value in whole.state().items():
        torch.testing.assert_close(value, parted.state()[name])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains(path: Path, precision: Any) -> None:
    program = made(path, precision=precision)
    losses = [float(program.train_step({"x": X}, Y)["loss"]) for _ in range(20)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert {value.dtype for value in program.state().values()} == {torch.float32}


def test_normalization_follows_a_restored_state(tmp_path: Path) -> None:
    file = tmp_path / "normal.py"
    file.write_text(
        MODEL.replace(
            "x = keras.layers.Dense(8",
            "normal = keras.layers.Normalization()\nnormal.build((None, 6))\n"
            "x = keras.layers.Dense(8",
        ).replace('"l2")(inputs)', '"l2")(normal(inputs))')
    )
    first, second = made(file), made(file)
    state = {name: value.clone() for name, value in first.state().items()}
    state["model.normalization.mean"] += 3
    first.network.load_state_dict(state)
    second.network.load_state_dict({**state, "model.normalization.mean": torch.zeros(6)})
    shifted = first.predict_step({"x": X + 3})["predictions"]["output"]
    torch.testing.assert_close(shifted, predicted(second))


def test_frozen_batch_norm_within_a_model_keeps_its_statistics(path: Path) -> None:
    program = made(path, freeze=["model.batch_normalization.*", "model.dense.*"])
    before = {name: value.clone() for name, value in program.state().items()}
    program.train_step({"x": X}, Y)
    program.eval_step({"x": X}, Y)  # and back to training
    program.train_step({"x": X}, Y)
    changed = {n for n, value in program.state().items() if not torch.equal(value, before[n])}
    assert changed == {"model.dense_1.kernel", "model.dense_1.bias"}


def test_a_second_program_of_a_model_is_not_frozen_with_the_first() -> None:
    given = keras.Sequential([keras.layers.BatchNormalization(), keras.layers.Dense(2)])

    def model_fn(features: Any, labels: Any, mode: Any) -> dovetail.EstimatorSpec:
        output = layers.layer(given, name="net")(features)
        loss = torch.nn.functional.cross_entropy(output, labels)
        train_op = dovetail.optimizers.SGD(0.1).minimize(loss)
        return dovetail.EstimatorSpec(mode, output, loss, train_op)

    first = dovetail.build(model_fn, device="cpu", freeze=["net.batch_normalization*"])
    first.train_step(X, Y)
    second = dovetail.build(model_fn, device="cpu")
    second.train_step(X, Y)
    for program, moved in ((first, False), (second, True)):
        (mean,) = (v for name, v in program.state().items() if name.endswith("moving_mean"))
        assert bool(mean.any()) is moved
    trained = [p.requires_grad for p in second.network.parameters()]
    assert all(trained)
    assert len(trained) == 4


def test_a_model_that_keras_froze_in_part_trains_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "frozen.py"
    file.write_text(
        MODEL.partition("inputs =")[0]
        + """
base = keras.Sequential(
    [keras.Input((6,)), keras.layers.Dense(4), keras.layers.BatchNormalization()], name="base"
)
base.trainable = False
inputs = keras.Input((6,), name="x")
model = keras.Model(inputs, keras.layers.Dense(2)(base(inputs, training=False)))
"""
        + MODEL.partition("keras.layers.Dense(2)(x))")[2]
    )
    program = made(file)
    before = {name: value.clone() for name, value in program.state().items()}
    program.train_step({"x": X}, Y)
    changed = {n for n, value in program.state().items() if not torch.equal(value, before[n])}
    assert len(before) == 8
    assert len(changed) == 2


def test_the_command_line_trains_and_predicts(in_tmp: Path) -> None:
    Path("net.py").write_text(
        MODEL
        + """

def data_schema():
    return [
        {"name": "x", "shape": [6], "dtype": "float32"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]


def prepare_data_for_a_single_file(filename):
    import numpy as np

    for row in np.loadtxt(filename, dtype="float32"):
        yield row[:6], int(row[6])
"""
    )
    np.savetxt("rows.txt", np.concatenate([X.numpy(), Y[:, None].numpy()], 1))
    for command in (
        "prepare net.py rows.txt --output records",
        "train net.py --data records --model-dir run --max-steps 2 --device cpu --batch-size 4",
        "evaluate net.py --data records --model-dir run --device cpu",
        "predict net.py --data records --model-dir run --device cpu --output out.jsonl",
    ):
        result = CliRunner().invoke(app, command.split())
        assert result.exit_code == 0, (command, result.output)
    assert len(Path("out.jsonl").read_text().splitlines()) == 12


def test_a_sharded_model_has_the_gradients_of_a_whole_one(tmp_path: Path) -> None:
    inputs: Any = keras.Input((6,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8)(inputs))
    wrapped = KerasLayer(keras.Model(inputs, keras.layers.Dense(1)(hidden)))
    wrapped(X).square().mean().backward()
    whole = [p.grad for p in wrapped.parameters()]
    wrapped.zero_grad()
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/it", rank=0, world_size=1)
    try:
        fully_shard(wrapped, mesh=init_device_mesh("cpu", (1,)))
        wrapped(X).square().mean().backward()
        for parameter, expected in zip(wrapped.parameters(), whole, strict=True):
            sharded: Any = parameter.grad
            torch.testing.assert_close(sharded.full_tensor(), expected)
    finally:
        dist.destroy_process_group()


def test_weights_keep_to_their_constraints_as_with_keras_own_optimizer():
    def net() -> Any:
        inputs = keras.Input((6,), name="x")
        hidden = keras.layers.Dense(8, kernel_constraint="non_neg", name="hidden")(inputs)
        norm = keras.constraints.MaxNorm(0.5)
        return keras.Model(inputs, keras.layers.Dense(1, bias_constraint=norm, name="out")(hidden))

    x, y = torch.randn(16, 6), torch.full((16, 1), -3.0)
    model, plain = net(), net()
    plain.set_weights([w.copy() for w in (v.value.detach().numpy() for v in model.weights)])

    def model_fn(features, labels, mode):
        output = layers.layer(model, name="net")(features)
        loss = torch.mean((output - labels) ** 2)
        train_op = dovetail.optimizers.SGD(0.1).minimize(loss)
        return dovetail.EstimatorSpec(mode, output, loss, train_op)

    program = dovetail.build(model_fn, example=(x, y), device="cpu")
    optimizer = keras.optimizers.SGD(0.1)
    for _ in range(5):
        program.train_step(x, y)
        loss = torch.mean((plain(x, training=True) - y) ** 2)
        weights = [v.value for v in plain.trainable_variables]
        gradients = torch.autograd.grad(loss, weights)
        optimizer.apply(list(gradients), plain.trainable_variables)
    state = program.state()
    assert float(state["net.hidden.kernel"].min()) == 0.0
    assert float(state["net.out.bias"].abs()) <= 0.5
    for variable in plain.variables:
        own = state["net." + variable.path.replace("/", ".")]
        torch.testing.assert_close(own, variable.value.detach(), rtol=1e-5, atol=1e-6)


class Mixed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(4, 8)
        self.norm = keras.layers.BatchNormalization()
        self.drop = keras.layers.Dropout(0.9)
        self.last = torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(self.norm(self.first(x))))


def mixed(network: torch.nn.Module) -> Program:
    def model_fn(features, labels, mode):
        output = layers.layer(network, name="net")(features)
        loss = torch.nn.functional.cross_entropy(output, labels)
        train_op = dovetail.optimizers.SGD(0.1).minimize(loss)
        return dovetail.EstimatorSpec(mode, output, loss, train_op)

    example = torch.randn(64, 4), torch.arange(64) % 3
    return dovetail.build(model_fn, example=example, device="cpu")


def test_keras_layers_in_a_torch_module_follow_the_mode_and_have_keras_names():
    torch.manual_seed(0)
    network = Mixed()
    program = mixed(network)
    x, y = torch.randn(64, 4), torch.arange(64) % 3
    assert list(program.state()) == [
        "net.first.weight",
        "net.first.bias",
        "net.norm.gamma",
        "net.norm.beta",
        "net.norm.moving_mean",
        "net.norm.moving_variance",
        "net.last.weight",
        "net.last.bias",
    ]
    hidden = program.state()["net.first.weight"].clone(), program.state()["net.first.bias"].clone()
    program.train_step(x, y)
    mean = torch.nn.functional.linear(x, *hidden).mean(dim=0)
    moved = program.state()["net.norm.moving_mean"]
    torch.testing.assert_close(moved, 0.01 * mean, rtol=1e-4, atol=1e-6)
    before = moved.clone()
    first, second = (program.eval_step(x, y, batch=n)["predictions"]["output"] for n in (0, 1))
    assert torch.equal(first, second)  # nothing is dropped
    assert torch.equal(program.state()["net.norm.moving_mean"], before)
    # A second program has a copy, with Keras layers of its own.
    other = mixed(network)
    start = other.state()["net.norm.gamma"].clone()
    program.train_step(x, y)
    assert torch.equal(other.state()["net.norm.gamma"], start)


def test_a_part_of_a_keras_model_can_not_be_recomputed(tmp_path: Path):
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    example = {"x": torch.zeros(2, 6)}, torch.zeros(2, dtype=torch.int64)
    with pytest.raises(DefinitionError, match="as a whole only. Write"):
        dovetail.build(path, example=example, device="cpu", recompute=["model.dense"])


def test_what_a_file_sets_of_keras_holds_for_its_program_alone(tmp_path: Path):
    (tmp_path / "wide.py").write_text("import keras\nkeras.config.set_floatx('float64')\n" + MODEL)
    (tmp_path / "plain.py").write_text(MODEL)
    dovetail.load(tmp_path / "wide.py")
    assert keras.config.floatx() == "float32"
    y = torch.zeros(2, dtype=torch.int64)
    wide = dovetail.build(
        tmp_path / "wide.py", example=({"x": torch.zeros(2, 6).double()}, y), device="cpu"
    )
    plain = dovetail.build(
        tmp_path / "plain.py", example=({"x": torch.zeros(2, 6)}, y), device="cpu"
    )
    kinds = [{value.dtype for value in program.state().values()} for program in (wide, plain)]
    assert kinds == [{torch.float64}, {torch.float32}]
    assert wide.predict_step({"x": torch.zeros(2, 6).double()})["predictions"]["output"].dtype == (
        torch.float64
    )
    assert keras.config.floatx() == "float32"


def test_settings_are_put_in_place_for_a_call_only_where_they_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    counted = []
    module = sys.modules["dovetail.layers.keras.layer"]
    own = module.settings_set
    monkeypatch.setattr(module, "settings_set", lambda wanted: counted.append(1) or own(wanted))
    y = torch.zeros(2, dtype=torch.int64)
    for text, dtype, expected in (
        (MODEL, torch.float32, 0),
        ("import keras\nkeras.config.set_floatx('float64')\n" + MODEL, torch.float64, 2),
    ):
        path = tmp_path / f"model_{expected}.py"
        path.write_text(text)
        batch = {"x": torch.zeros(2, 6, dtype=dtype)}
        program = dovetail.build(path, example=(batch, y), device="cpu")
        counted.clear()
        for _ in range(2):
            program.train_step(batch, y)
        assert len(counted) == expected

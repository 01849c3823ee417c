"""Page 4's Keras models in model files, beside plain Keras on torch in a loop of torch."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import Tensor

import dovetail
from dovetail.errors import DefinitionError
from dovetail.layers.keras.random import drawn_seed, fresh_keras
from dovetail.program.program import Program
from dovetail.program.randomness import seed_generators, seeded

FUNCTIONAL = """
inputs = keras.Input(shape=(28, 28), name='image')
x = keras.layers.Reshape((28, 28, 1))(inputs)
x = keras.layers.Conv2D(32, kernel_size=(3, 3), activation='relu')(x)
x = keras.layers.Conv2D(64, kernel_size=(3, 3), activation='relu')(x)
x = keras.layers.BatchNormalization()(x, training=True)
x = keras.layers.MaxPooling2D(pool_size=(2, 2))(x)
x = keras.layers.Dropout(0.25)(x, training=True)
x = keras.layers.Flatten()(x)
outputs = keras.layers.Dense(10)(x)

model = keras.Model(inputs=inputs, outputs=outputs, name='mnist_model')
"""

SUBCLASS = """
class MnistModel(keras.Model):
    def __init__(self):
        super(MnistModel, self).__init__(name='mnist_model')
        self._reshape = keras.layers.Reshape((28, 28, 1))
        self._conv1 = keras.layers.Conv2D(
            32, kernel_size=(3, 3), activation='relu')
        self._conv2 = keras.layers.Conv2D(
            64, kernel_size=(3, 3), activation='relu')
        self._batch_norm = keras.layers.BatchNormalization()
        self._maxpooling = keras.layers.MaxPooling2D(
            pool_size=(2, 2))
        self._dropout = keras.layers.Dropout(0.25)
        self._flatten = keras.layers.Flatten()
        self._dense = keras.layers.Dense(10)

    def call(self, inputs, training=False):
        x = self._reshape(inputs)
        x = self._conv1(x)
        x = self._conv2(x)
        x = self._batch_norm(x, training=training)
        x = self._maxpooling(x)
        if training:
            x = self._dropout(x, training=training)
        x = self._flatten(x)
        x = self._dense(x)
        return x

model = MnistModel()
"""

REST = """
def loss(output, labels):
    return torch.nn.functional.cross_entropy(output, labels)

def optimizer(lr=0.01):
    return dovetail.optimizers.SGD(lr)
"""

PAGE = {"functional": FUNCTIONAL, "subclass": SUBCLASS}


def write(folder: Path, model: str, rest: str = REST, name: str = "mnist.py") -> Path:
    path = folder / name
    path.write_text("import keras\nimport torch\n\nimport dovetail\n" + model + rest)
    return path


def images(count: int = 6) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (count,), generator=generator)
    return {"image": torch.rand(count, 28, 28, generator=generator)}, labels


def program(path: Path, **settings: Any) -> Program:
    return dovetail.build(path, device="cpu", **settings)


@pytest.mark.parametrize("way", PAGE)
def test_page_4_s_model_steps_as_plain_keras_does_bit_for_bit(way: str, tmp_path: Path) -> None:
    path = write(tmp_path, PAGE[way])
    features, labels = images()
    made = program(path)

    with seeded(0), fresh_keras():
        plain: Any = runpy.run_path(str(path))["model"]
    with seeded(0):
        if not plain.built:
            plain(features["image"])
    for layer in plain._flatten_layers():
        for generator in layer._seed_generators:
            generator.next = drawn_seed
    weights = plain.trainable_variables
    made.build(features, labels)
    for ours, theirs in zip(made.network.parameters(), weights, strict=True):
        assert torch.equal(ours, theirs.value)  # the same seed gave the same weights
    sgd = torch.optim.SGD([v.value for v in weights], lr=0.01)

    for step in range(3):
        seed_generators(torch.device("cpu"), 0, step, 0)
        output = plain(features["image"], training=True)
        loss = torch.nn.functional.cross_entropy(output, labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        stepped = made.train_step(features, labels)
        assert torch.equal(stepped["loss"], loss.detach())
        assert torch.equal(stepped["predictions"]["output"], output.detach())
        for ours, theirs in zip(made.network.parameters(), weights, strict=True):
            assert torch.equal(ours, theirs.value)
            assert ours.grad is not None
            assert torch.equal(ours.grad, theirs.value.grad)
    moved = [v for v in plain.non_trainable_variables if v.name.startswith("moving")]
    state = {key.split(".")[-1]: value for key, value in made.state().items()}
    assert len(moved) == 2
    for variable in moved:
        assert torch.equal(state[variable.name], variable.value)

    before = {key: value.clone() for key, value in made.state().items()}
    seed_generators(torch.device("cpu"), 0, 3, 0, 2)
    with torch.no_grad():
        expected = plain(features["image"])
    predicted = made.predict_step(features)["predictions"]["output"]
    assert torch.equal(predicted, expected)
    made.eval_step(features, labels)
    assert all(torch.equal(value, before[key]) for key, value in made.state().items())


@pytest.mark.parametrize("way", PAGE)
def test_each_program_has_the_same_names_and_weights(way: str, tmp_path: Path) -> None:
    path = write(tmp_path, PAGE[way])
    first, second, other = (program(path, example=images(), seed=s) for s in (0, 0, 1))
    assert list(first.state()) == list(second.state())
    assert [name for name, _ in first.network.named_parameters()] == [
        f"model.{layer}.{name}"
        for layer, names in (
            ("conv2d", ("kernel", "bias")),
            ("conv2d_1", ("kernel", "bias")),
            ("batch_normalization", ("gamma", "beta")),
            ("dense", ("kernel", "bias")),
        )
        for name in names
    ]
    kernel = "model.dense.kernel"
    assert all(torch.equal(first.state()[n], second.state()[n]) for n in first.state())
    assert not torch.equal(first.state()[kernel], other.state()[kernel])


def test_the_user_s_own_numbering_and_random_numbers_are_untouched(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    first = keras.layers.Dense(1).name
    expected = torch.randn(2)
    keras.utils.set_random_seed(3)
    path = write(tmp_path, SUBCLASS)
    program(path, example=images())
    number = int(first.partition("_")[2] or 0)
    assert keras.layers.Dense(1).name == f"dense_{number + 1}"
    assert torch.equal(torch.randn(2), expected)


def test_a_run_that_stopped_ends_as_one_that_did_not(in_tmp: Path) -> None:
    path = write(in_tmp, RANDOM, SQUARED)
    x, y = torch.randn(12, 4), torch.randn(12, 1)

    def batches() -> list[Any]:
        return [({"x": x[start : start + 2]}, y[start : start + 2]) for start in range(0, 12, 2)]

    states = []
    for folder, stops in (("whole", (6,)), ("parts", (3, 6))):
        for stop in stops:
            config = dovetail.RunConfig(
                folder, device="cpu", progress=False, unpositioned_input="fast_forward"
            )
            estimator = dovetail.Estimator(path, config=config)
            estimator.train(batches, max_steps=stop)
        names = estimator.get_variable_names()
        states.append({name: estimator.get_variable_value(name) for name in names})
    whole, parts = states
    assert whole.keys() == parts.keys()
    assert any("moving_mean" in name for name in whole)
    for name in whole:
        assert np.array_equal(whole[name], parts[name]), name


RANDOM = """
model = keras.Sequential([
    keras.layers.Dense(3),
    keras.layers.BatchNormalization(),
    keras.layers.Dropout(0.5),
    keras.layers.AlphaDropout(0.5, seed=1),
    keras.layers.GaussianNoise(0.1),
    keras.layers.Dense(1),
])
"""

SMALL = """
inputs = keras.Input(shape=(4,), name="x")
hidden = keras.layers.Dense(3, kernel_regularizer="l2", activity_regularizer="l2")(inputs)
model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
"""
SQUARED = """
def loss(output, labels):
    return torch.mean((output - labels) ** 2)

def optimizer(lr=0.1):
    return dovetail.optimizers.SGD(lr)
"""


def test_the_model_s_own_losses_are_added_as_in_keras_fit(tmp_path: Path) -> None:
    made = program(write(tmp_path, SMALL, SQUARED))
    x, y = torch.randn(5, 4), torch.randn(5, 1)
    made.build({"x": x}, y)
    plain: Any = made.network.model.given  # type: ignore[union-attr]
    with torch.no_grad():
        output = plain(x)
    own = [loss.detach() for loss in plain.losses]
    for layer in plain._flatten_layers():
        layer._losses.clear()
    expected = float(torch.mean((output - y) ** 2) + own[0] + own[1])
    assert float(made.eval_step({"x": x}, y)["loss"]) == pytest.approx(expected, rel=1e-6)
    assert float(made.train_step({"x": x}, y)["loss"]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        "model = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(1)])",
        "model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])",
        "def model(params):\n    return keras.Sequential([keras.layers.Dense(1)])\n",
        "class model(keras.Model):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.dense = keras.layers.Dense(1)\n"
        "    def call(self, x):\n"
        "        return self.dense(x)\n",
        "class Net(keras.Model):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.inner = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))\n"
        "        self.dense = keras.layers.Dense(1)\n"
        "    def call(self, x):\n"
        "        return self.dense(self.inner(x))\n"
        "model = Net()\n",
        "inner = keras.Sequential([keras.layers.Dense(3)], name='inner')\n"
        "inputs = keras.Input((4,))\n"
        "outer = keras.Model(inputs, keras.layers.BatchNormalization()(inner(inputs)))\n"
        "model = keras.Sequential([outer, keras.layers.Dense(1)])\n",
    ],
)
def test_models_of_other_kinds_train(model: str, tmp_path: Path) -> None:
    path = write(tmp_path, model, SQUARED)
    x, y = torch.randn(5, 4), torch.randn(5, 1)
    first, second = program(path), program(path)
    for made in (first, second):
        losses = [float(made.train_step({"x": x}, y)["loss"]) for _ in range(4)]
        assert losses[-1] < losses[0]
    before = {key: value.clone() for key, value in first.state().items()}
    first.eval_step({"x": x}, y)
    assert list(before) == list(second.state())
    assert all(torch.equal(value, before[name]) for name, value in first.state().items())
    assert all(torch.equal(value, before[name]) for name, value in second.state().items())


def test_a_torch_module_within_keras_keeps_its_own_names_and_statistics(tmp_path: Path) -> None:
    model = """
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
        self.dense = keras.layers.Dense(1)
    def call(self, x):
        return self.dense(self.inner(x))
model = Net()
"""
    made = program(write(tmp_path, model, SQUARED))
    made.train_step({"x": torch.randn(5, 4) + 3}, torch.randn(5, 1))
    state = made.state()
    assert "model.torch_module_wrapper.0.weight" in state
    assert int(state["model.torch_module_wrapper.1.num_batches_tracked"]) == 1
    made.predict_step({"x": torch.randn(5, 4)})
    assert int(state["model.torch_module_wrapper.1.num_batches_tracked"]) == 1


def test_a_model_imported_from_another_module_is_copied_for_each_program(tmp_path: Path) -> None:
    (tmp_path / "keras_net_beside.py").write_text("import keras\n" + SMALL)
    path = tmp_path / "beside.py"
    path.write_text("import torch\nimport dovetail\nfrom keras_net_beside import model\n" + SQUARED)
    x, y = torch.randn(5, 4), torch.randn(5, 1)
    first, second = program(path), program(path)
    first.train_step({"x": x}, y)
    second.build({"x": x}, y)
    assert list(first.state()) == list(second.state())
    assert not any(
        torch.equal(value, second.state()[name])
        for name, value in first.state().items()
        if name.endswith("kernel")
    )


def test_a_model_on_another_backend_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    path = write(tmp_path, SMALL, SQUARED)
    with pytest.raises(DefinitionError, match="already imported here on its jax backend"):
        dovetail.load(path)


def test_without_keras_the_message_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "keras", None)
    path = tmp_path / "needs.py"
    path.write_text("import keras\n" + SMALL + SQUARED)
    with pytest.raises(DefinitionError, match=r"needs\.py:1.*pip install 'dovetail\[keras\]'"):
        dovetail.load(path)

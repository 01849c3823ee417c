"""The same net as a Keras model file, which has its own order of computing: to 1e-5."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

_spec = importlib.util.spec_from_file_location("stepping", Path(__file__).with_name("stepping.py"))
assert _spec is not None
assert _spec.loader is not None
stepping = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stepping)

KERAS_FILE = """
import keras
from torch.nn import functional as F
from dovetail import optimizers

image = keras.Input(shape=(8, 8, 3), name="image")
x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(image)
x = keras.layers.MaxPooling2D(2)(x)
x = keras.layers.Conv2D(6, 3, name="conv_1")(x)
{norm}
x = keras.layers.Flatten()(keras.layers.ReLU()(x))
x = keras.layers.Dense(8, activation="relu", name="hidden")(x)
model = keras.Model(image, keras.layers.Dense(5, name="logits")(x))
"""
NORM = "x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name='norm')(x)"
TORCH_S_REST = """
def loss(output, labels):
    return F.cross_entropy(output, labels)

def optimizer(lr=0.1):
    return optimizers.Momentum(lr, momentum=0.9)
"""
KERAS_REST = """
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

def optimizer(lr=0.1):
    return keras.optimizers.SGD(lr, momentum=0.9)
"""
TENSORS = {"kernel": "weight", "gamma": "weight", "beta": "bias"} | {
    f"moving_{name}": f"running_{short}" for name, short in (("mean", "mean"), ("variance", "var"))
}


def name_of_keras(name: str) -> str:
    """Return what the torch module calls a tensor of a program around a Keras model."""
    layer, _, tensor = name.removeprefix("model.").rpartition(".")
    return f"{layer}.{TENSORS.get(tensor, tensor)}"


def into_keras(value: Tensor) -> Tensor:
    """Return a weight in Keras' order: window and inputs before outputs."""
    return value.permute(2, 3, 1, 0) if value.dim() == 4 else value.mT if value.dim() > 1 else value


def back_from_keras(value: Tensor) -> Tensor:
    return value.permute(3, 2, 0, 1) if value.dim() == 4 else value.mT if value.dim() > 1 else value


def of_keras(path: Path, start: dict[str, Tensor], parts: int = 1) -> Any:
    return stepping.found(path, start, name_of_keras, into_keras, back_from_keras, parts)


def assert_near(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, check_stride=False)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("rest", [TORCH_S_REST, KERAS_REST], ids=["torch's loss", "all of Keras"])
def test_a_keras_model_file_gives_what_plain_torch_does(rest: str, parts: int, tmp_path: Path):
    net = stepping.plain_net(normed=False)
    start = stepping.starting(net)
    path = tmp_path / "keras_net.py"
    path.write_text(KERAS_FILE.format(norm="") + rest)
    assert_near(of_keras(path, start, parts), stepping.expected(net))


def test_keras_batch_normalization_trains_as_torch_s_does(tmp_path: Path):
    net = stepping.plain_net(normed=True)
    net.dropout.p = 0.0  # Keras draws masks of its own
    start = stepping.starting(net)
    del start["norm.num_batches_tracked"]
    path = tmp_path / "keras_net.py"
    path.write_text(KERAS_FILE.format(norm=NORM) + TORCH_S_REST)
    ours, theirs = of_keras(path, start), stepping.expected(net)
    assert_near(ours[0], theirs[0])
    assert_near(ours[1::2][: stepping.STEPS], theirs[1::2][: stepping.STEPS])  # the steps
    for values in (ours[-1], theirs[-1]):
        # Keras keeps the variance of the batch as it is, torch that of what it is drawn from.
        values.pop("norm.running_var")
        values.pop("norm.num_batches_tracked", None)
    assert_near(ours[-1], dict(theirs[-1]))

"""Keras objects are known as such, and Keras is left alone where nobody uses it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import keras
import pytest
import torch

from dovetail import layers
from dovetail.errors import DefinitionError
from dovetail.layers.keras.objects import is_keras_layer, never_has_state

kl: Any = keras.layers

PROGRAM = """
import sys, torch, dovetail

def model_fn(features, labels, mode):
    output = dovetail.layers.layer(torch.nn.Linear, 2, 1)(features)
    loss = output.square().mean()
    return dovetail.EstimatorSpec(mode, output, loss, dovetail.optimizers.SGD(0.1).minimize(loss))

dovetail.build(model_fn, device="cpu").train_step(torch.ones(3, 2))
assert "keras" not in sys.modules
"""


def test_a_program_without_keras_does_not_import_it() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_layers_and_models_are_known() -> None:
    assert is_keras_layer(kl.Dense(1))
    assert is_keras_layer(keras.Sequential())
    assert not is_keras_layer(kl.Dense)
    assert not is_keras_layer(torch.nn.Linear(1, 1))


def test_layers_that_never_have_variables_are_known_before_they_are_built() -> None:
    for layer in (kl.Dropout(0.5), kl.Flatten(), kl.Rescaling(2.0), kl.MaxPooling2D()):
        assert never_has_state(layer)
    for layer in (kl.Dense(1), kl.LSTM(2), keras.Sequential([kl.Dense(1)]), kl.Normalization()):
        assert not never_has_state(layer)


def test_keras_on_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = kl.Dense(1)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with layers.scope(), pytest.raises(DefinitionError, match="jax backend.*KERAS_BACKEND=torch"):
        layers.layer(dense, name="dense")

"""Keras losses and optimizers as pieces of a modeler."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import DefinitionError

keras = pytest.importorskip("keras")

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
Y = (X[:, :1] > 0).float()


def graph(inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    output = layers.layer(keras.layers.Dense, 1, activation="sigmoid")(inputs)
    return output, {"output": output}


def modeler_of(**values: Any) -> dovetail.Modeler:
    own = {name: values.pop(name) for name in list(values) if name.startswith("create")}
    config = dovetail.ModelerConfig("train", **values)
    pieces = {
        "create_graph_fn": graph,
        "create_loss_fn": torch.nn.functional.binary_cross_entropy,
        "create_eval_metrics_fn": lambda predictions, labels: {},
    }
    return dovetail.Modeler(config, **{**pieces, **own})


def loss_of(loss: Any) -> Tensor:
    modeler = modeler_of(optimizer="sgd", learning_rate=0.1, create_loss_fn=loss)
    return dovetail.build(modeler, example=(X, Y), device="cpu").eval_step(X, Y)["loss"]


def keras_order(y_true: Tensor, y_pred: Tensor) -> Tensor:
    return torch.nn.functional.binary_cross_entropy(y_pred, y_true)


def other_order(labels: Tensor, logits: Tensor) -> Tensor:
    return torch.nn.functional.binary_cross_entropy(logits, labels)


def test_a_loss_gets_the_labels_where_its_names_put_them():
    expected = loss_of(torch.nn.functional.binary_cross_entropy)
    torch.testing.assert_close(loss_of(keras.losses.BinaryCrossentropy()), expected)
    assert loss_of(keras_order) == loss_of(other_order) == expected


def test_the_configs_optimizer_may_be_one_of_keras():
    optimizer = modeler_of(optimizer=keras.optimizers.Adam(0.01)).optimizer
    assert optimizer == optimizers.as_description(keras.optimizers.Adam(0.01))


def test_create_optimizer_may_give_one_of_keras():
    def create_optimizer(learning_rate: float) -> Any:
        return keras.optimizers.Adam(learning_rate)

    modeler = modeler_of(learning_rate=0.25, create_optimizer=create_optimizer)
    assert modeler.optimizer == optimizers.as_description(keras.optimizers.Adam(0.25))
    program = dovetail.build(modeler, device="cpu")
    program.train_step(X, Y)
    assert program.global_step == 1


def test_a_create_optimizer_that_gives_none_is_named():
    modeler = modeler_of(create_optimizer=lambda learning_rate: "adam")
    with pytest.raises(DefinitionError, match="Modeler.create_optimizer returned what is no opt"):
        _ = modeler.optimizer

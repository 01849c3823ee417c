"""The Modeler page's code: its snippet and its model_fn, with its names and order of arguments.

`source.network.resnet32` is `dovetail.nets.resnet32`, and
`source.modeler.image_classification_modeler` is `dovetail.tasks.image_classification`.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import dovetail
from dovetail import ImageClassificationModelerConfig, ModelerConfig, layers, metrics
from dovetail.definition.modeler import Modeler

IMAGES = torch.randn(4, 32, 32, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(4)


def made(mode: str) -> Any:
    # Create a ResNet32 network
    network_name = "dovetail.nets.resnet32"
    net = getattr(importlib.import_module(network_name), "net")  # noqa: B009 (the page's words)

    # Create basic modeler configration
    modeler_config = ModelerConfig(
        mode=mode,
        batch_size_per_gpu=64,
        gpu_count=1,
        optimizer="momentum",
        learning_rate=0.01,
    )

    # Add additional configuration for image classification
    modeler_config = ImageClassificationModelerConfig(modeler_config, num_classes=10)

    # Create modeler
    modeler_name = "dovetail.tasks.image_classification"
    return importlib.import_module(modeler_name).build(modeler_config, net)


def test_model_fn_gives_the_page_s_operators_in_each_mode():
    with layers.scope() as store:
        trained = made("train").model_fn((IMAGES, LABELS))
    with layers.scope(store):
        evaluated = made("eval").model_fn((IMAGES, LABELS))
    with layers.scope(store):
        inferred = made("infer").model_fn((IMAGES, LABELS))
    assert sorted(trained) == ["accuracy", "grads", "learning_rate", "loss"]
    assert sorted(evaluated) == ["accuracy", "loss"]
    assert sorted(inferred) == ["classes", "probabilities"]
    assert trained["learning_rate"] == 0.01
    assert set(trained["grads"]) == {name for name, _ in store.named_parameters()}
    assert inferred["probabilities"].shape == (4, 10)
    assert 0 <= evaluated["accuracy"].item() <= 1


def test_the_page_s_modeler_trains_evaluates_and_predicts(tmp_path):
    config = dovetail.RunConfig(str(tmp_path), progress=False, device="cpu")
    estimator = dovetail.Estimator(made("train"), config=config)
    assert estimator.resolved.batch_size == 64
    estimator.train(lambda: [(IMAGES, LABELS)] * 2)
    assert set(estimator.evaluate(lambda: [(IMAGES, LABELS)])) == {
        "accuracy",
        "global_step",
        "loss",
    }
    rows = list(estimator.predict(lambda: [IMAGES]))
    assert [sorted(row) for row in rows] == [["classes", "probabilities"]] * 4


class PageModeler(Modeler):
    """The page's model_fn as it is printed, with the pieces that it calls."""

    def model_fn(self, x):
        # Input batch of images and labels
        images = x[0]
        labels = x[1]

        # Create graph for forward pass
        logits, predictions = self.create_graph_fn(images)

        # Return modeler operators
        if self.config.mode == "train":
            # Training mode returns operators for loss, gradient and accuracy
            loss = self.create_loss_fn(logits, labels)
            grads = self.create_grad_fn(loss)
            accuracy = self.create_eval_metrics_fn(predictions, labels)
            return {
                "loss": loss,
                "grads": grads,
                "accuracy": accuracy,
                "learning_rate": self.learning_rate,
            }
        elif self.config.mode == "eval":
            # Evalution mode returns operators for loss and accuracy
            loss = self.create_loss_fn(logits, labels)
            accuracy = self.create_eval_metrics_fn(predictions, labels)
            return {"loss": loss, "accuracy": accuracy}
        elif self.config.mode == "infer":
            # Inference mode returns the predicted classes and probabilities for the predictions
            return {
                "classes": predictions["classes"],
                "probabilities": predictions["probabilities"],
            }

    def create_graph_fn(self, inputs):
        logits = layers.layer(nn.Linear, 3072, 10, name="logits")(inputs.flatten(1))
        return logits, {"classes": logits.argmax(-1), "probabilities": logits.softmax(-1)}

    def create_loss_fn(self, logits, labels):
        return functional.cross_entropy(logits, labels)

    def create_eval_metrics_fn(self, predictions, labels):
        return metrics.accuracy(labels=labels, predictions=predictions["classes"])


def page_modeler(mode: str) -> PageModeler:
    return PageModeler(ModelerConfig(mode, 4, 1, optimizer="momentum", learning_rate=0.01))


@pytest.mark.parametrize(
    ("mode", "operators"),
    [
        ("train", ["accuracy", "grads", "learning_rate", "loss"]),
        ("eval", ["accuracy", "loss"]),
        ("infer", ["classes", "probabilities"]),
    ],
)
def test_the_page_s_own_model_fn_runs_as_printed(mode: str, operators: list[str]):
    modeler = page_modeler(mode)
    found: Any = modeler.model_fn((IMAGES, LABELS))
    assert sorted(found) == operators


def test_the_page_s_own_model_fn_trains_as_a_plain_loop_does():
    program = dovetail.build(page_modeler("train"), example=(IMAGES, LABELS), device="cpu")
    plain = nn.Linear(3072, 10)
    plain.load_state_dict(program.network.get_submodule("logits").state_dict())
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.01, momentum=0.9)
    for _ in range(4):
        loss = functional.cross_entropy(plain(IMAGES.flatten(1)), LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert program.train_step(IMAGES, LABELS)["loss"] == loss.detach()
    assert torch.equal(program.state()["logits.weight"], plain.weight)
    assert torch.equal(program.state()["logits.bias"], plain.bias)

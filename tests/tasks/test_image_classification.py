"""Classifying images: the task's config, its modeler, and its operators."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dovetail
from dovetail import layers
from dovetail.definition.modeler_config import ModelerConfig
from dovetail.errors import DefinitionError, ParamsError
from dovetail.nets import convnet
from dovetail.tasks.image_classification import ImageClassificationModelerConfig, build

IMAGES = torch.rand(6, 8, 8, 1, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def config_of(mode: str = "train", **values: Any) -> ImageClassificationModelerConfig:
    base = ModelerConfig(mode, optimizer="momentum", learning_rate=0.05, **values)
    return ImageClassificationModelerConfig(base, num_classes=3)


def linear(inputs: Tensor, num_classes: int, is_training: bool, data_format: str) -> Any:
    logits = layers.layer(nn.Linear, 64, num_classes, name="logits")(inputs.flatten(1))
    assert is_training in (True, False)
    return logits, {"classes": logits.argmax(-1), "probabilities": logits.softmax(-1)}


def test_the_operators_are_those_of_plain_torch():
    with layers.scope() as store:
        operators = build(config_of(), linear).model_fn((IMAGES, LABELS))
    plain = nn.Linear(64, 3)
    plain.load_state_dict(store.get_submodule("logits").state_dict())
    logits = plain(IMAGES.flatten(1))
    loss = functional.cross_entropy(logits, LABELS)
    loss.backward()
    assert list(operators) == ["loss", "grads", "accuracy", "learning_rate"]
    assert torch.equal(operators["loss"], loss)
    assert plain.weight.grad is not None
    assert torch.equal(operators["grads"]["logits.weight"], plain.weight.grad)
    assert operators["accuracy"].item() == (logits.argmax(-1) == LABELS).double().mean().item()
    assert operators["learning_rate"] == 0.05


def test_images_given_by_name_are_found():
    modeler = build(config_of("infer"), linear)
    alone = modeler.model_fn((IMAGES, None))["classes"]
    named = modeler.model_fn(({"image": IMAGES, "id": LABELS}, None))["classes"]
    assert torch.equal(alone, named)


def test_evaluation_is_exact_over_batches_of_any_size(tmp_path):
    config = dovetail.RunConfig(str(tmp_path), progress=False, device="cpu")
    estimator = dovetail.Estimator(build(config_of(), convnet.net), config=config)
    estimator.train(lambda: [({"image": IMAGES}, LABELS)] * 3)
    whole = estimator.evaluate(lambda: [({"image": IMAGES}, LABELS)])
    cut = estimator.evaluate(
        lambda: [({"image": IMAGES[a:b]}, LABELS[a:b]) for a, b in ((0, 1), (1, 6))]
    )
    assert cut["accuracy"] == whole["accuracy"]
    assert cut["loss"] == pytest.approx(whole["loss"])
    rows = list(estimator.predict(lambda: [{"image": IMAGES}]))
    assert [sorted(row) for row in rows] == [["classes", "probabilities"]] * 6


def test_dropout_follows_the_mode_of_the_run():
    program = dovetail.build(build(config_of("infer"), convnet.net), device="cpu")
    first, again = (program.train_step(IMAGES, LABELS)["loss"] for _ in range(2))
    assert first != again
    evaluated = [program.eval_step(IMAGES, LABELS, batch=i)["loss"] for i in range(2)]
    assert evaluated[0] == evaluated[1]


def test_pieces_may_be_functions():
    modeler = build(
        config_of("eval"),
        linear,
        create_loss_fn=lambda logits, labels: logits.square().mean(),
        create_eval_metrics_fn=lambda predictions, labels: {
            "top": predictions["probabilities"].amax(-1)
        },
    )
    assert list(modeler.model_fn((IMAGES, LABELS))) == ["loss", "top"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build(ModelerConfig(), linear), r"no num_classes. Wrap it"),
        (lambda: build(config_of()).model_fn((IMAGES, LABELS)), r"has no net"),
        (lambda: build(config_of(), linear).model_fn((IMAGES, None)), r"x is \(images, labels\)"),
        (
            lambda: build(config_of(), linear).model_fn((IMAGES.to(torch.uint8), LABELS)),
            r"images are torch.uint8.*preprocess",
        ),
        (
            lambda: build(config_of(), linear).model_fn(({"a": IMAGES, "b": IMAGES}, LABELS)),
            r"features are a, b, and none of them",
        ),
    ],
)
def test_what_can_t_be_classified_is_refused_with_the_cure(make: Any, message: str):
    with pytest.raises(DefinitionError, match=message):
        make()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_classes": 1}, r"num_classes=1"),
        ({"num_classes": "10"}, r"num_classes='10'"),
        ({"num_classes": 10, "data_format": "NHWC"}, r"data_format='NHWC'"),
        ({"num_classes": 10, "modeler_config": "train"}, r"first argument is the ModelerConfig"),
    ],
)
def test_a_wrong_config_can_t_be_made(values: dict[str, Any], message: str):
    with pytest.raises(ParamsError, match=message):
        ImageClassificationModelerConfig(**{"modeler_config": ModelerConfig(), **values})

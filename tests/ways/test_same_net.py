"""One net, one set of weights, one batch through every way in: the bits of plain torch."""

from __future__ import annotations

import importlib.util
import shutil
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import dovetail
from dovetail import layers, optimizers
from dovetail.definition.modes import ModeKeys
from dovetail.run.params_folder import find, read
from dovetail.tasks import image_classification

_spec = importlib.util.spec_from_file_location("stepping", Path(__file__).with_name("stepping.py"))
assert _spec is not None
assert _spec.loader is not None
stepping = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stepping)
torch_net, inline_net = stepping.torch_net, stepping.inline_net
HERE = Path(__file__).parent


def written(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text))
    return path


# The ways: each gives a program, and the torch module's names of its parameters.


def inline(normed: bool, folder: Path) -> Any:
    """A model_fn whose layers are made inline."""

    def model_fn(features, labels, mode):
        logits, predictions = inline_net.net(features["image"], 5, normed=normed)
        if mode == ModeKeys.PREDICT:
            return dovetail.EstimatorSpec(mode, predictions)
        loss = F.cross_entropy(logits, labels)
        train_op = optimizers.Momentum(0.1, momentum=0.9).minimize(loss)
        return dovetail.EstimatorSpec(mode, predictions, loss, train_op)

    return model_fn


def module(normed: bool, folder: Path) -> Any:
    """A model_fn around a torch module."""

    def model_fn(features, labels, mode):
        logits = layers.layer(torch_net.Net, normed, name="net")(features["image"])
        if mode == ModeKeys.PREDICT:
            return dovetail.EstimatorSpec(mode, {"output": logits})
        loss = F.cross_entropy(logits, labels)
        train_op = optimizers.Momentum(0.1, momentum=0.9).minimize(loss)
        return dovetail.EstimatorSpec(mode, {"output": logits}, loss, train_op)

    return model_fn


def own_gradients(normed: bool, folder: Path) -> Any:
    """A model_fn that takes the gradients itself."""

    def model_fn(features, labels, mode):
        net = layers.layer(torch_net.Net, normed, name="net")
        logits = net(features["image"])
        if mode == ModeKeys.PREDICT:
            return dovetail.EstimatorSpec(mode, logits)
        loss = F.cross_entropy(logits, labels)
        train_op = None
        if mode == ModeKeys.TRAIN:
            own = list(net.parameters())
            pairs = zip(torch.autograd.grad(loss, own), own, strict=True)
            train_op = optimizers.Momentum(0.1, momentum=0.9).apply_gradients(pairs)
        return dovetail.EstimatorSpec(mode, logits, loss, train_op)

    return model_fn


def model_file(normed: bool, folder: Path) -> Any:
    """A file with model, loss and optimizer."""
    shutil.copy(HERE / "torch_net.py", folder)
    text = f"""
    from dovetail import optimizers
    from torch_net import {"NormedNet" if normed else "Net"} as model, loss

    def optimizer(lr=0.1):
        return optimizers.Momentum(lr, momentum=0.9)
    """
    return written(folder / "file.py", text)


def modeler(normed: bool, folder: Path) -> Any:
    """A net function, layered configs, and the task's modeler."""
    config = dovetail.ModelerConfig(mode="train", optimizer="momentum", learning_rate=0.1)
    config = dovetail.ImageClassificationModelerConfig(config, num_classes=5)
    net = inline_net.normed_net if normed else inline_net.net
    return image_classification.build(config, net)


def params_file(normed: bool, folder: Path) -> Any:
    """A params file with a model.py and a data.py."""
    shutil.copy(HERE / "inline_net.py", folder)
    np.savez(folder / "batch.npz", image=stepping.IMAGES.numpy(), label=stepping.LABELS.numpy())
    model = """
    from torch.nn import functional as F
    from dovetail import EstimatorSpec, optimizers
    from inline_net import net

    def model_fn(features, labels, mode, params):
        section = params["model"]
        logits, predictions = net(features["image"], section.num_classes, normed=section.normed)
        if mode == "infer":
            return EstimatorSpec(mode, predictions)
        loss = F.cross_entropy(logits, labels)
        train_op = optimizers.from_params(params["optimizer"]).minimize(loss)
        return EstimatorSpec(mode, predictions, loss, train_op)
    """
    data = """
    import numpy as np

    def input_fn(params):
        batch = np.load(params["train_input"]["file"])
        return [({"image": batch["image"]}, batch["label"])]
    """
    params = f"""
    train_input: {{file: {folder / "batch.npz"}}}
    model: {{num_classes: 5, normed: {str(normed).lower()}}}
    optimizer: {{optimizer_type: momentum, learning_rate: 0.1, momentum: 0.9}}
    """
    written(folder / "model.py", model)
    written(folder / "data.py", data)
    return read(find(written(folder / "params.yaml", params)))


WAYS = [inline, module, own_gradients, model_file, modeler, params_file]


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "normed"])
@pytest.mark.parametrize("make", WAYS, ids=lambda make: make.__name__)
def test_every_way_in_gives_the_bits_of_plain_torch(make: Any, normed: bool, tmp_path: Path):
    net = stepping.plain_net(normed)
    start = stepping.starting(net)
    torch.testing.assert_close(
        stepping.found(make(normed, tmp_path), start),
        stepping.expected(net),
        rtol=0,
        atol=0,
        check_stride=False,
    )


@pytest.mark.parametrize("parts", [2, 5])
@pytest.mark.parametrize("make", WAYS, ids=lambda make: make.__name__)
def test_every_way_in_takes_a_batch_in_unequal_parts(make: Any, parts: int, tmp_path: Path):
    net = stepping.plain_net(normed=False)
    start = stepping.starting(net)
    found = stepping.found(make(False, tmp_path), start, parts=parts)
    torch.testing.assert_close(
        found, stepping.expected(net), rtol=1e-6, atol=1e-6, check_stride=False
    )


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "normed"])
def test_what_is_compared_moves(normed: bool):
    results = stepping.expected(stepping.plain_net(normed))
    evaluated = [float(result[0]) for result in results[:-1:2]]
    assert len(set(evaluated)) == stepping.STEPS + 1
    assert (results[0][0] == results[1][0]) != normed  # the batch's statistics, and dropout
    assert all(value.any() for value in results[1][1].values() if value.dim() > 1)

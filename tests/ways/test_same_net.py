"""One net, one set of weights, one batch, through every way in: the same bits.

They are those of a loop in plain torch. Keras computes in its own order, so it is held to 1e-5.
"""

from __future__ import annotations

import importlib.util
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import dovetail
from dovetail import layers, optimizers
from dovetail.definition.modes import ModeKeys
from dovetail.program.randomness import derive
from dovetail.run.params_folder import find, read
from dovetail.tasks import image_classification

HERE = Path(__file__).parent


def _beside(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


torch_net, inline_net = _beside("torch_net"), _beside("inline_net")
GENERATOR = torch.Generator().manual_seed(7)
IMAGES = torch.rand(9, 8, 8, 3, generator=GENERATOR)
LABELS = torch.randint(0, 5, (9,), generator=GENERATOR)
FEATURES = {"image": IMAGES}
STEPS = 3


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
    np.savez(folder / "batch.npz", image=IMAGES.numpy(), label=LABELS.numpy())
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


def written(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text))
    return path


WAYS = [inline, module, own_gradients, model_file, modeler, params_file]


def batch_of(way: Any) -> tuple[Any, Any]:
    """Return the batch; a params file's own data.py reads it."""
    if not hasattr(way, "input_fn"):
        return FEATURES, LABELS
    ((features, labels),) = way.input_fn(ModeKeys.TRAIN)(way.resolved.definition.params)
    return features, labels


def torch_name(name: str) -> str:
    """Return what the torch module calls a tensor of a program."""
    name = name.removeprefix("net.").removeprefix("model.")
    layer, _, tensor = name.rpartition(".")
    return f"{inline_net.NAMES.get(layer, layer)}.{tensor}"


def found(way: Any, start: dict[str, Tensor], name_of: Callable[[str], str] = torch_name) -> Any:
    """Return what a program with these weights gives, before, in and after three steps."""
    features, labels = batch_of(way)
    definition = way.resolved.definition if hasattr(way, "resolved") else way
    program = dovetail.build(definition, example=(features, labels), device="cpu")
    state = program.state()
    assert {name_of(name) for name in state} == start.keys()
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(start[name_of(name)])
    results = []

    def see() -> None:
        evaluated = program.eval_step(features, labels)["loss"]
        results.append((evaluated, program.predict_step(features)["predictions"]["output"]))

    see()
    for _ in range(STEPS):
        loss = program.train_step(features, labels)["loss"]
        named = program.network.named_parameters()
        results.append((loss, {name_of(name): p.grad for name, p in named}))
        see()
    results.append({name_of(name): value for name, value in program.state().items()})
    return results


def expected(net: torch.nn.Module) -> Any:
    """Return the same of a loop in plain torch."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    results: list[Any] = []

    def see() -> None:
        net.eval()
        with torch.no_grad():
            logits = net(IMAGES)
            results.append((F.cross_entropy(logits, LABELS), logits))

    see()
    for step in range(STEPS):
        net.train()
        torch.manual_seed(derive(0, step, 0))  # the seed, the step, the part
        loss = F.cross_entropy(net(IMAGES), LABELS)
        optimizer.zero_grad()
        loss.backward()
        named = {name: p.grad for name, p in net.named_parameters()}
        optimizer.step()
        results.append((loss.detach(), named))
        see()
    return [*results, net.state_dict()]


def plain_net(normed: bool) -> Any:
    """Return the torch module with weights that no way begins with by itself."""
    torch.manual_seed(11)
    net = torch_net.Net(normed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return net


def starting(net: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "normed"])
@pytest.mark.parametrize("make", WAYS, ids=lambda make: make.__name__)
def test_every_way_in_gives_the_bits_of_plain_torch(make: Any, normed: bool, tmp_path: Path):
    net = plain_net(normed)
    start = starting(net)
    torch.testing.assert_close(
        found(make(normed, tmp_path), start), expected(net), rtol=0, atol=0, check_stride=False
    )


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "normed"])
def test_what_is_compared_moves(normed: bool):
    results = expected(plain_net(normed))
    evaluated = [float(result[0]) for result in results[:-1:2]]
    assert len(set(evaluated)) == STEPS + 1
    assert (results[0][0] == results[1][0]) != normed  # the batch's statistics, and dropout
    assert all(value.any() for value in results[1][1].values() if value.dim() > 1)

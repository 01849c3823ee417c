"""The running example of the Estimator page: its model, its params, narrower by 16."""

from types import SimpleNamespace

import pytest
import torch

from dovetail import layers

RELU = torch.nn.functional.relu
PARAMS = [
    {"type": "conv", "num_outputs": 96 // 16, "kernel_size": 11, "stride": 4},
    {"type": "pool", "kernel_size": 3, "stride": 2},
    {"type": "conv", "num_outputs": 256 // 16, "kernel_size": 5, "stride": 1},
    {"type": "pool", "kernel_size": 3, "stride": 2},
    {"type": "conv", "num_outputs": 384 // 16, "kernel_size": 3, "stride": 1},
    {"type": "conv", "num_outputs": 384 // 16, "kernel_size": 3, "stride": 1},
    {"type": "conv", "num_outputs": 256 // 16, "kernel_size": 3, "stride": 1},
    {"type": "pool", "kernel_size": 3, "stride": 2},
    {"type": "fc", "num_outputs": 4096 // 16, "activation": RELU},
    {"type": "fc", "num_outputs": 2048 // 16, "activation": RELU},
    {"type": "fc", "num_outputs": 50, "activation": None},
]
for entry in PARAMS:
    if entry["type"] == "conv":
        entry.update(activation=RELU, regularizer=layers.l2_loss)
params = SimpleNamespace(layers=PARAMS, num_layers=len(PARAMS))


def structure(features):
    for l in range(params.num_layers):  # noqa: E741 - the page's own name
        lparams = params.layers[l]
        if l == 0:
            h = features["image"]
        elif lparams["type"] == "fc" and len(h.shape) != 2:
            h = layers.flatten(h)
        if lparams["type"] == "conv":
            h = layers.conv2d(
                h,
                lparams["num_outputs"],
                lparams["kernel_size"],
                lparams["stride"],
                activation_fn=lparams["activation"],
                weights_regularizer=lparams["regularizer"],
            )
        elif lparams["type"] == "pool":
            h = layers.max_pool2d(h, lparams["kernel_size"], lparams["stride"])
        elif lparams["type"] == "fc":
            h = layers.fully_connected(
                h, lparams["num_outputs"], activation_fn=lparams["activation"]
            )
    return h


def test_the_running_example_has_the_shapes_of_the_page():
    with layers.scope() as store:
        h = structure({"image": torch.rand(2, 300, 200, 3)})
        penalty = layers.regularization_loss()
    assert h.shape == (2, 50)
    shapes = {name: tuple(p.shape) for name, p in store.named_parameters() if "weight" in name}
    assert shapes == {
        "conv2d.weight": (6, 3, 11, 11),
        "conv2d_1.weight": (16, 6, 5, 5),
        "conv2d_2.weight": (24, 16, 3, 3),
        "conv2d_3.weight": (24, 24, 3, 3),
        "conv2d_4.weight": (16, 24, 3, 3),
        # 300x200 -> 75x50 -> 37x24 -> 18x11 -> 8x5, as TensorFlow's SAME and VALID give
        "fully_connected.weight": (256, 8 * 5 * 16),
        "fully_connected_1.weight": (128, 256),
        "fully_connected_2.weight": (50, 128),
    }
    expected = sum(
        float((p.detach() ** 2).sum()) / 2
        for name, p in store.named_parameters()
        if name.startswith("conv2d") and name.endswith("weight")
    )
    assert penalty.item() == pytest.approx(expected, rel=1e-5)


def test_the_running_example_learns():
    torch.manual_seed(0)
    features = {"image": torch.rand(8, 75, 75, 3)}
    labels = torch.arange(8)
    with layers.scope() as store:
        structure(features)
    optimizer = torch.optim.Adam(store.parameters(), lr=0.001)
    losses = []
    for _ in range(30):
        with layers.scope(store):
            loss = torch.nn.functional.cross_entropy(structure(features), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 1.5

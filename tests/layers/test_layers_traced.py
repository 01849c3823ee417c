"""Every layer function under torch.compile and torch.export."""

import pytest
import torch
from torch import nn

from dovetail import layers
from dovetail.layers.store import Store, entered


def tower(x):
    hidden = layers.dense(x, 16, weights_regularizer=layers.l1_regularizer(1e-3))
    return layers.layer_norm(hidden, begin_norm_axis=-1)


def network(features):
    """Use every layer function there is."""
    h = layers.conv2d(
        features["image"],
        8,
        3,
        2,
        normalizer_fn=layers.batch_norm,
        normalizer_params={"decay": 0.9},
        weights_regularizer=layers.l2_loss,
    )
    h = layers.max_pool2d(h, 3, 2, "SAME")
    for _ in range(2):  # an even kernel, and shared weights
        h = layers.conv2d(
            h, 8, 4, activation_fn=layers.swish, scope="twin", weights_regularizer=layers.l2_loss
        )
    h = layers.avg_pool2d(h, 2, 2, "SAME")
    h = layers.conv2d_transpose(h, 4, 3, 2)
    h = layers.layer_norm(h)
    h = layers.conv1d(h.flatten(1, 2), 4, 3)
    h = layers.dropout(layers.flatten(h), 0.9)
    h = layers.block(tower, h)
    h = h * layers.get_variable("gate", [16], initializer=torch.nn.init.ones_)
    h = h + layers.embedding(features["word"], 10, 16)
    h = torch.cat([h, layers.one_hot_encoding(features["word"], 10)], 1)
    return layers.softmax(layers.fully_connected(h, 10, None)), layers.regularization_loss()


class Net(nn.Module):
    """What a program is to its layers."""

    def __init__(self):
        super().__init__()
        self.store = Store()

    def forward(self, features):
        with entered(self.store):
            out, penalty = network(features)
        return {"out": out, "penalty": penalty}


def batch(size):
    return {"image": torch.randn(size, 28, 27, 3), "word": torch.arange(size) % 10}


@pytest.fixture
def net():
    torch.manual_seed(0)
    made = Net()
    made(batch(4))
    made.store.seal()
    return made


@pytest.mark.parametrize("train", [True, False])
def test_compiled_in_one_graph_gives_the_same_values_and_gradients(net, train):
    torch._dynamo.reset()
    net.train(train)
    features = batch(4)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    results = []
    for run in (net, compiled):
        torch.manual_seed(1)
        net.zero_grad()
        net.store.batch_norm.reset_running_stats()
        result = run(features)
        (result["out"][:, 0].sum() + result["penalty"]).backward()
        gradients = {n: p.grad for n, p in net.named_parameters()}
        results.append((result, gradients, net.store.batch_norm.running_mean.clone()))
    torch.testing.assert_close(results[0], results[1])


# Torch notes that the thread's slot is written to while it traces; it is put back at the end.
@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects:UserWarning")
@pytest.mark.parametrize("strict", [True, False])
def test_exported_with_a_variable_batch_gives_the_same_values(net, strict):
    net.eval()
    size = torch.export.Dim("batch", min=2, max=64)
    shapes = {"features": {"image": {0: size}, "word": {0: size}}}
    with torch.no_grad():
        exported = torch.export.export(net, (batch(4),), dynamic_shapes=shapes, strict=strict)
        for count in (2, 7, 64):
            features = batch(count)
            torch.testing.assert_close(exported.module()(features), net(features))
    assert "store.conv2d.weight" in exported.state_dict

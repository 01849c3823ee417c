"""The Estimator page's AlexNet, from its model.py to a step, an evaluation and predictions."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dovetail
from dovetail import metrics
from dovetail.errors import ParamsError

FILE = Path(__file__).parents[2] / "examples" / "estimator" / "model.py"


def batch(size, height, width):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(size, height, width, 3, generator=generator)
    return {"image": images}, torch.arange(size) % 50


def narrowed():
    """Return the page's params with an eighth of the width, so that many steps are quick."""
    layers = [dict(layer) for layer in dovetail.load(FILE).params.layers]
    for layer in layers[:-1]:
        if "num_outputs" in layer:
            layer["num_outputs"] //= 8
    return {"layers": layers}


def test_the_page_as_it_stands_builds_trains_evaluates_and_predicts():
    program = dovetail.build(FILE, device="cpu")
    features, labels = batch(2, 300, 200)
    loss = program.train_step(features, labels)["loss"]
    assert program.global_step == 1
    # Xavier's first weights give outputs small enough for a guess at 50 classes.
    assert float(loss) == pytest.approx(torch.tensor(50.0).log(), abs=0.5)
    evaluated = program.eval_step(features, labels)
    state = metrics.MetricSet(program.statics("eval").metrics)
    state.update(evaluated["metrics"], weight=2)
    assert state.compute()["accuracy"] in (0.0, 0.5, 1.0)
    predicted = program.predict_step(features)["predictions"]
    assert predicted["output"].shape == (2, 50)
    assert {name: tuple(value.shape) for name, value in program.state().items()} == {
        "conv2d.weight": (96, 3, 11, 11),
        "conv2d.bias": (96,),
        "conv2d_1.weight": (256, 96, 5, 5),
        "conv2d_1.bias": (256,),
        "conv2d_2.weight": (384, 256, 3, 3),
        "conv2d_2.bias": (384,),
        "conv2d_3.weight": (384, 384, 3, 3),
        "conv2d_3.bias": (384,),
        "conv2d_4.weight": (256, 384, 3, 3),
        "conv2d_4.bias": (256,),
        # 300x200 -> 75x50 -> 37x24 -> 18x11 -> 8x5, as TensorFlow's SAME and VALID give
        "fully_connected.weight": (4096, 8 * 5 * 256),
        "fully_connected.bias": (4096,),
        "fully_connected_1.weight": (2048, 4096),
        "fully_connected_1.bias": (2048,),
        "fully_connected_2.weight": (50, 2048),
        "fully_connected_2.bias": (50,),
    }


def test_the_page_trains_as_a_plain_loop_does():
    features, labels = batch(4, 91, 75)
    program = dovetail.build(FILE, params=narrowed(), example=(features, labels), device="cpu")
    net = PlainAlexNet(program.state())
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    losses = []
    for _ in range(6):
        losses.append(float(program.train_step(features, labels)["loss"]))
        loss = F.cross_entropy(net(features["image"]), labels)
        assert losses[-1] == pytest.approx(loss.item(), rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    torch.testing.assert_close(
        program.predict_step(features)["predictions"]["output"],
        net(features["image"]).detach(),
        rtol=1e-3,
        atol=1e-4,
    )


class PlainAlexNet(nn.Module):
    """The same network in plain torch, channels first, with TensorFlow's padding by hand."""

    def __init__(self, state):
        super().__init__()
        self.parts = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(value.clone()) for name, value in state.items()}
        )

    def conv(self, x, name, stride=1):
        weight, bias = self.parts[f"{name}/weight"], self.parts[f"{name}/bias"]
        pads = []
        for size, kernel in ((x.shape[3], weight.shape[3]), (x.shape[2], weight.shape[2])):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), weight, bias, stride).relu()

    def linear(self, x, name):
        return F.linear(x, self.parts[f"{name}/weight"], self.parts[f"{name}/bias"])

    def forward(self, x):
        x = F.max_pool2d(self.conv(x.permute(0, 3, 1, 2), "conv2d", 4), 3, 2)
        x = F.max_pool2d(self.conv(x, "conv2d_1"), 3, 2)
        x = self.conv(self.conv(self.conv(x, "conv2d_2"), "conv2d_3"), "conv2d_4")
        x = F.max_pool2d(x, 3, 2).permute(0, 2, 3, 1).flatten(1)  # TensorFlow flattens HWC
        x = self.linear(x, "fully_connected").relu()
        x = self.linear(x, "fully_connected_1").relu()
        return self.linear(x, "fully_connected_2")


def test_an_unknown_hyperparameter_of_the_page_is_refused():
    with pytest.raises(ParamsError, match="Did you mean"):
        dovetail.load(FILE, params={"learning_rte": 0.1})

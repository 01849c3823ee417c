"""A model's graph beside what its definition says, and that nothing remains of drawing it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import dovetail
from dovetail import layers
from dovetail.run import graph_trace
from dovetail.run.graph_trace import Node, graph_of


class Twice(nn.Module):
    """A module that uses one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Linear(6, 6)

    def forward(self, x):
        return self.same(torch.relu(self.same(x)))


def model_fn(features, labels, mode, params):
    x = layers.fully_connected(features["x"], 6, activation_fn=torch.tanh)
    x = layers.dropout(layers.batch_norm(x), keep_prob=0.5)
    x = layers.layer(Twice, name="twice")(x)
    mask = torch.ones(6)
    mask[0] = 0.0
    logits = layers.fully_connected(x * mask, 3, activation_fn=None, scope="head")
    loss = nn.functional.cross_entropy(logits, labels)
    train_op = dovetail.optimizers.Adam(0.01).minimize(loss)
    return dovetail.EstimatorSpec(mode, {"logits": logits}, loss, train_op)


@pytest.fixture
def batch():
    return {"x": torch.randn(4, 5)}, torch.tensor([0, 1, 2, 0])


@pytest.fixture
def program(batch):
    return dovetail.build(model_fn, example=batch, device="cpu")


def ancestors(nodes: list[Node], name: str) -> set[str]:
    """The names of all nodes that flow into one, however far."""
    by_name = {node.name: node for node in nodes}
    found: set[str] = set()
    left = [name]
    while left:
        for source in by_name[left.pop()].inputs:
            if source not in found:
                found.add(source)
                left.append(source)
    return found


def test_every_parameter_and_input_flows_into_the_loss(program, batch):
    nodes = graph_of(program, *batch)
    into_loss = ancestors(nodes, "loss")
    parameters = {name.replace(".", "/") for name, _ in program.network.named_parameters()}
    assert parameters <= into_loss
    assert {"features/x", "labels"} <= into_loss
    assert {node.name for node in nodes if node.op == "Parameter"} == parameters


def test_what_flows_is_what_the_definition_says(program, batch):
    nodes = {node.name: node for node in graph_of(program, *batch)}
    linear = nodes["fully_connected/linear"]
    assert linear.inputs == ("features/x", "fully_connected/weight", "fully_connected/bias")
    assert (linear.shapes, linear.dtype) == (((4, 6),), "float32")
    assert nodes["tanh"].inputs == ("fully_connected/linear",)
    assert nodes["twice/same/linear"].inputs[0].startswith("dropout")
    assert nodes["twice/relu"].inputs == ("twice/same/linear",)
    assert nodes["twice/same-call2/linear"].inputs[0] == "twice/relu"
    assert nodes["mul"].inputs == ("twice/same-call2/linear", "setitem")
    assert nodes["cross_entropy"].inputs == ("head/linear", "labels")
    assert nodes["predictions/logits"].inputs == ("head/linear",)
    assert (nodes["train/optimizer"].op, nodes["train/optimizer"].inputs) == ("Adam", ("loss",))


def test_every_input_of_a_node_is_a_node_before_it(program, batch):
    seen: set[str] = set()
    for node in graph_of(program, *batch):
        assert set(node.inputs) <= seen, node
        seen.add(node.name)


def everything_of(program):
    network = program.network
    return (
        {name: value.clone() for name, value in program.state().items()},
        (network.mode, network.training, network.summary_step, program.global_step),
        (torch.get_rng_state().tolist(), np.random.random(3).tolist(), random.random()),
    )


def test_nothing_remains_of_drawing_it(program, batch):
    program.train_step(*batch)
    states = np.random.get_state(), random.getstate()
    before = everything_of(program)
    np.random.set_state(states[0])
    random.setstate(states[1])
    graph_of(program, *batch)
    after = everything_of(program)
    assert before[1:] == after[1:]
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())


def test_a_training_with_a_graph_is_the_one_without(batch):
    ends = []
    for drawn in (False, True):
        program = dovetail.build(model_fn, example=batch, device="cpu")
        for _ in range(3):
            if drawn:
                graph_of(program, *batch)
            program.train_step(*batch)
        ends.append({name: value.clone() for name, value in program.state().items()})
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_statistics_in_parameters_that_are_not_trained_stay_as_they_were():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 1)
            self.seen = nn.Parameter(torch.zeros(1), requires_grad=False)

        def forward(self, x):
            with torch.no_grad():
                self.seen.add_(1)
            return self.linear(x)

    def counted(features, labels, mode, params):
        y = layers.layer(Counting, name="counting")(features)
        train_op = dovetail.optimizers.SGD(0.1).minimize(y.mean())
        return dovetail.EstimatorSpec(mode, y, y.mean(), train_op)

    batch = torch.ones(3, 2), None
    program = dovetail.build(counted, example=batch, device="cpu")
    before = program.network.counting.seen.clone()
    nodes = {node.name for node in graph_of(program, *batch)}
    assert "counting/linear/linear" in nodes
    assert torch.equal(program.network.counting.seen, before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_is_that_of_the_steps(batch, precision):
    program = dovetail.build(model_fn, example=batch, device="cpu", precision=precision)
    nodes = {node.name: node for node in graph_of(program, *batch)}
    expected = {"fp32": "float32", "bf16": "bfloat16"}[precision]
    assert nodes["fully_connected/linear"].dtype == expected


def test_a_model_that_cannot_be_called_is_drawn_as_its_modules(program, batch):
    nodes = graph_of(program, {"x": torch.ones(4, 7)}, batch[1])
    by_name = {node.name: node for node in nodes}
    assert by_name["twice/same/Linear"].inputs == ("twice/same/weight", "twice/same/bias")
    assert not any(node.op in ("tanh", "cross_entropy") for node in nodes)
    assert program.network.mode == "train"


def test_a_graph_too_large_to_look_at_is_drawn_as_its_modules(program, batch, monkeypatch):
    monkeypatch.setattr(graph_trace, "LARGEST", 10)
    assert any(node.name == "twice/same/Linear" for node in graph_of(program, *batch))


def test_a_model_with_gradients_and_attributes_inside_is_followed():
    def penalised(features, labels, mode, params):
        x = features.clone().requires_grad_()
        y = layers.fully_connected(x, 1, activation_fn=None)
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        loss = ((y - labels) ** 2).mean() + (slope.T**2).mean()
        train_op = dovetail.optimizers.SGD(0.1).minimize(loss)
        return dovetail.EstimatorSpec(mode, y, loss, train_op)

    batch = torch.ones(3, 2), torch.ones(3, 1)
    program = dovetail.build(penalised, example=batch, device="cpu")
    nodes = graph_of(program, *batch)
    assert {"features", "fully_connected/weight", "T"} <= ancestors(nodes, "loss")

"""A modeler in a program: as plain loops in torch train it, in the mode of the run."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dovetail
from dovetail import layers, optimizers
from dovetail.definition.modeler import Modeler
from dovetail.definition.modeler_config import ModelerConfig
from dovetail.errors import DefinitionError, ParamsError
from dovetail.layers.store import current_frame

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(1))


def graph(inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    hidden = torch.tanh(layers.layer(nn.Linear, 3, 4, name="hidden")(inputs))
    output = layers.layer(nn.Linear, 4, 1, name="head")(hidden)
    return output, {"output": output}


def squares(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits - labels).square().mean()


def modeler_of(mode: str = "train", **values: Any) -> Modeler:
    pieces: dict[str, Any] = {
        "create_graph_fn": graph,
        "create_loss_fn": squares,
        "create_eval_metrics_fn": lambda predictions, labels: {
            "error": (predictions["output"] - labels).abs().squeeze(-1)
        },
    }
    own = {name: values.pop(name) for name in list(values) if name.startswith(("create", "model"))}
    config = ModelerConfig(mode, **{"optimizer": "momentum", "learning_rate": 0.1, **values})
    return Modeler(config, **{**pieces, **own})


class Plain(nn.Module):
    """The same network in plain torch, begun from a program's weights."""

    def __init__(self, program: dovetail.Program) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(3, 4), nn.Linear(4, 1)
        self.load_state_dict(program.state())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(x)))


def built(modeler: Modeler, **settings: Any) -> dovetail.Program:
    return dovetail.build(modeler, example=(X, Y), device="cpu", **settings)


def assert_equal(program: dovetail.Program, plain: nn.Module) -> None:
    for name, value in plain.state_dict().items():
        assert torch.equal(program.state()[name], value), name


@pytest.mark.parametrize("execution", ["eager", "compiled"])
def test_momentum_with_rates_in_epochs_and_l2_is_a_plain_loop(
    execution: str, monkeypatch: pytest.MonkeyPatch
):
    traced = functools.partial(torch.compile, fullgraph=True, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", lambda network, **_: traced(network))
    program = built(
        modeler_of(
            batch_size_per_gpu=4,
            gpu_count=2,
            num_examples=20,  # 2.5 steps are an epoch
            piecewise_boundaries=[1, 2],
            piecewise_learning_rate_decay=[1.0, 0.5, 0.1],
            l2_weight_decay=0.01,
            skip_l2_loss_vars=["bias"],
        ),
        execution=execution,
    )
    plain = Plain(program)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for rate in (0.1, 0.1, 0.1, 0.1 * 0.5, 0.1 * 0.5, 0.1 * 0.1, 0.1 * 0.1):
        loss = squares(plain(X), Y)
        penalty = sum(
            (w.square().sum() / 2 for w in (plain.hidden.weight, plain.head.weight)),
            torch.zeros(()),
        )
        loss = loss + 0.01 * penalty
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found = program.train_step(X, Y)["loss"]
        assert program.learning_rate == rate
        if execution == "eager":
            assert found == loss.detach()
    if execution == "eager":
        assert_equal(program, plain)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(program.state()[name], value)


def test_what_is_not_trained_stays_as_it_was():
    program = built(modeler_of(optimizer="adam", trainable_vars=["head"]))
    plain = Plain(program)
    optimizer = torch.optim.Adam(plain.head.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        squares(plain(X), Y).backward()
        optimizer.step()
        program.train_step(X, Y)
    assert_equal(program, plain)


@pytest.mark.parametrize("mode", ["train", "eval", "infer"])
def test_the_run_s_mode_decides(mode: str):
    program = built(modeler_of(mode))
    loss = program.train_step(X, Y)["loss"]
    evaluated = program.eval_step(X, Y)
    assert evaluated["loss"] < loss
    assert list(evaluated["metrics"]) == ["error"]
    assert list(program.predict_step(X)["predictions"]) == ["output"]


def test_parts_of_a_batch_are_weighted():
    whole, parts = (built(modeler_of(optimizer="sgd")) for _ in range(2))
    whole.train_step(X, Y)
    parts.train_step(X, Y, parts=3)
    for name, value in whole.state().items():
        torch.testing.assert_close(parts.state()[name], value)


def test_own_gradients_are_applied():
    def halved(loss: Tensor) -> dict[str, Tensor]:
        root = current_frame().owner
        named = dict(root.named_parameters())
        gradients = torch.autograd.grad(loss, list(named.values()), retain_graph=True)
        return {name: g / 2 for name, g in zip(named, gradients, strict=True)}

    half = built(modeler_of(optimizer="sgd", create_grad_fn=halved))
    full = built(modeler_of(optimizer="sgd", learning_rate=0.05))
    for program in (half, full):
        program.train_step(X, Y)
    for name, value in full.state().items():
        torch.testing.assert_close(half.state()[name], value)


def test_the_config_s_values_are_params():
    modeler = modeler_of(batch_size_per_gpu=4, trainable_vars=["head"])
    definition = dovetail.load(modeler, params={"learning_rate": 0.5, "optimizer": "sgd"})
    assert (definition.way, definition.params.batch_size_per_gpu) == ("modeler", 4)
    program = dovetail.build(definition, example=(X, Y), device="cpu")
    plain = Plain(program)
    program.train_step(X, Y)
    squares(plain(X), Y).backward()
    with torch.no_grad():
        for p in plain.head.parameters():
            assert p.grad is not None
            p -= 0.5 * p.grad
    assert_equal(program, plain)
    assert modeler.config.learning_rate == 0.1
    with pytest.raises(ParamsError, match="learning_rte.*Did you mean"):
        dovetail.load(modeler, params={"learning_rte": 0.5})
    with pytest.raises(ParamsError, match="gpu_count=0"):
        dovetail.build(modeler, params={"gpu_count": 0})


def test_programs_of_one_modeler_share_nothing():
    modeler = modeler_of()
    one, other = built(modeler), built(modeler)
    before = {name: value.clone() for name, value in other.state().items()}
    one.train_step(X, Y)
    assert all(torch.equal(value, before[name]) for name, value in other.state().items())
    assert not list(modeler.store.parameters())


def test_rates_in_epochs_are_refused_where_the_number_of_examples_is_unknown():
    program = built(modeler_of(piecewise_boundaries=[1], piecewise_learning_rate_decay=[1.0, 0.1]))
    assert torch.isfinite(program.eval_step(X, Y)["loss"])
    with pytest.raises(ParamsError, match=r"num_examples=\.\.\."):
        program.train_step(X, Y)


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ("loss", r"returned a str; it must return a dict"),
        ({"grads": 1}, r"it must give 'loss' too"),
        ({"loss": torch.ones(())}, r"gave loss for mode 'train'; it must give 'grads'"),
        ({"loss": torch.ones(()), "grads": {}, "x": "y"}, r"gave 'x', a str"),
    ],
)
def test_operators_that_a_run_can_t_use_are_refused(operators: Any, message: str):
    with pytest.raises(DefinitionError, match=message):
        built(modeler_of(model_fn=lambda x: operators))


def test_a_description_may_be_the_optimizer():
    schedule = optimizers.schedules.Exponential(0.1, 1, 0.5)
    modeler = modeler_of(optimizer=optimizers.SGD(schedule, clip_norm=0.1), learning_rate=None)
    program = built(modeler)
    rates = [program.train_step(X, Y) and program.learning_rate for _ in range(3)]
    assert rates == pytest.approx([0.1, 0.05, 0.025])
    assert "optimizer" not in program.params


def test_a_page_sized_subclass_runs_directly_and_in_a_program():
    class Squares(Modeler):
        def create_graph_fn(self, inputs: Any) -> Any:
            return graph(inputs)

        def create_loss_fn(self, logits: Any, labels: Any) -> Tensor:
            return squares(logits, labels)

        def model_fn(self, x: Any) -> Any:
            logits, _ = self.create_graph_fn(x[0])
            loss = self.create_loss_fn(logits, x[1])
            mean = dovetail.metrics.mean(logits)
            return {"loss": loss, "grads": self.create_grad_fn(loss), "mean": mean}

    config = ModelerConfig("train", optimizer="sgd", learning_rate=0.1)
    assert isinstance(Squares(config).model_fn((X, Y))["mean"], Tensor)
    assert list(built(Squares(config)).train_step(X, Y)["metrics"]) == ["mean"]
    with pytest.raises(DefinitionError, match=r"l2_weight_decay=0.1 was not used"):
        built(Squares(ModelerConfig("train", 8, 1, "sgd", 0.1, l2_weight_decay=0.1)))


def test_gradients_that_do_not_heed_trainable_vars_are_refused():
    with pytest.raises(DefinitionError, match=r"trainable_vars=\('head',\) was not used"):
        built(modeler_of(trainable_vars=["head"], create_grad_fn=lambda loss: {"head.bias": loss}))


def test_a_model_fn_of_the_same_layers_gives_the_same_bits():
    def model_fn(features: Any, labels: Any, mode: Any) -> dovetail.EstimatorSpec:
        output, predictions = graph(features)
        if mode == dovetail.ModeKeys.PREDICT:
            return dovetail.EstimatorSpec(mode, predictions)
        loss = squares(output, labels)
        train_op = optimizers.Momentum(0.1).minimize(loss)
        return dovetail.EstimatorSpec(mode, predictions, loss, train_op)

    ours = built(modeler_of())
    theirs = dovetail.build(model_fn, example=(X, Y), device="cpu")
    for _ in range(3):
        assert torch.equal(ours.train_step(X, Y)["loss"], theirs.train_step(X, Y)["loss"])
        for one, other in zip(ours.network.parameters(), theirs.network.parameters(), strict=True):
            assert one.grad is not None
            assert other.grad is not None
            assert torch.equal(one.grad, other.grad)
            assert torch.equal(one, other)
    predicted = [program.predict_step(X)["predictions"]["output"] for program in (ours, theirs)]
    assert torch.equal(*predicted)

"""A modeler called directly: its pieces, its operators, its filters."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import dovetail
from dovetail import layers, metrics, optimizers
from dovetail.definition.modeler import Modeler
from dovetail.definition.modeler_config import ModelerConfig
from dovetail.errors import DefinitionError, ParamsError

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(1))


def graph(inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    hidden = torch.tanh(layers.layer(nn.Linear, 3, 4, name="hidden")(inputs))
    output = layers.layer(nn.Linear, 4, 1, name="head")(hidden)
    return output, {"output": output}


def squares(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits - labels).square().mean()


def errors(predictions: dict[str, Tensor], labels: Tensor) -> Any:
    return {
        "mae": metrics.mean_absolute_error(labels, predictions["output"]),
        "bias": (predictions["output"] - labels).squeeze(-1),
    }


def modeler_of(mode: str = "train", **values: Any) -> Modeler:
    pieces = {
        "create_graph_fn": graph,
        "create_loss_fn": squares,
        "create_eval_metrics_fn": errors,
    }
    own = {name: values.pop(name) for name in list(values) if name.startswith(("create", "model"))}
    config = ModelerConfig(mode, **{"optimizer": "sgd", "learning_rate": 0.1, **values})
    return Modeler(config, **{**pieces, **own})


def test_each_mode_gives_its_operators():
    torch.manual_seed(0)
    with layers.scope() as store:
        trained = modeler_of("train").model_fn((X, Y))
    with layers.scope(store):
        evaluated = modeler_of("eval").model_fn((X, Y))
    with layers.scope(store):
        inferred = modeler_of("infer").model_fn((X, None))
    assert list(trained) == ["loss", "grads", "learning_rate", "mae", "bias"]
    assert list(evaluated) == ["loss", "mae", "bias"]
    assert list(inferred) == ["output"]
    assert evaluated["loss"] == trained["loss"] == (inferred["output"] - Y).square().mean()
    assert evaluated["mae"].item() == pytest.approx(
        (inferred["output"].detach() - Y).abs().mean().item()
    )


def test_called_directly_the_gradients_are_the_gradients_by_name():
    torch.manual_seed(0)
    with layers.scope() as store:
        operators = modeler_of().model_fn((X, Y))
    operators["loss"].backward()
    assert {
        name: p.grad.tolist() for name, p in store.named_parameters() if p.grad is not None
    } == {name: gradient.tolist() for name, gradient in operators["grads"].items()}


def test_without_a_scope_a_modeler_keeps_its_own_weights():
    modeler = modeler_of()
    losses = [modeler.model_fn((X, Y))["loss"].detach() for _ in range(2)]
    assert losses[0] == losses[1]
    assert sorted(dict(modeler.store.named_parameters())) == [
        "head.bias",
        "head.weight",
        "hidden.bias",
        "hidden.weight",
    ]


def test_modules_follow_the_config_s_mode():
    def dropped(inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        output = layers.layer(nn.Dropout, 0.5)(torch.ones_like(inputs))
        return output, {"output": output}

    modes = {
        mode: modeler_of(mode, create_graph_fn=dropped, create_grad_fn=lambda loss: {})
        for mode in ("train", "infer")
    }
    assert modes["infer"].model_fn((X,))["output"].eq(1).all()
    modeler = modes["train"]
    modeler.model_fn((X, torch.zeros_like(X)))
    assert modeler.store.training


def test_pieces_are_methods_of_a_subclass_too():
    class Squares(Modeler):
        def create_graph_fn(self, inputs: Any) -> Any:
            return graph(inputs)

        def create_loss_fn(self, logits: Any, labels: Any) -> Tensor:
            return self.with_l2(squares(logits, labels))

        def create_eval_metrics_fn(self, predictions: Any, labels: Any) -> Any:
            return metrics.mean(predictions["output"])

    config = ModelerConfig("train", optimizer="sgd", learning_rate=0.1, l2_weight_decay=0.5)
    with layers.scope() as store:
        operators = Squares(config).model_fn((X, Y))
    penalty = 0.25 * sum(p.square().sum() for p in store.parameters())
    with layers.scope(store):
        output, _ = graph(X)
    torch.testing.assert_close(operators["loss"], squares(output, Y) + penalty)
    assert float(operators["metric"]) == pytest.approx(output.detach().mean().item())


def test_functions_may_ask_for_the_config():
    def scaled(logits: Tensor, labels: Tensor, config: Any) -> Tensor:
        return squares(logits, labels) * config.batch_size_per_gpu

    with layers.scope() as store:
        plain = modeler_of("eval").model_fn((X, Y))["loss"]
    with layers.scope(store):
        times = modeler_of("eval", create_loss_fn=scaled, batch_size_per_gpu=4).model_fn((X, Y))
    assert times["loss"] == 4 * plain


def test_model_fn_may_be_a_function():
    def own(x: Any, modeler: Modeler) -> dict[str, Tensor]:
        logits, _ = modeler.create_graph_fn(x[0])
        return {"loss": modeler.create_loss_fn(logits, x[1])}

    assert list(modeler_of("eval", model_fn=own).model_fn((X, Y))) == ["loss"]


def test_l2_leaves_out_what_is_skipped():
    with layers.scope() as store:
        plain = modeler_of("eval").model_fn((X, Y))["loss"]
    with layers.scope(store):
        modeler = modeler_of("eval", l2_weight_decay=0.1, skip_l2_loss_vars=["bias", "head"])
        loss = modeler.model_fn((X, Y))["loss"]
    weight = store.get_parameter("hidden.weight")
    torch.testing.assert_close(loss, plain + 0.1 * weight.square().sum() / 2)


def test_only_what_is_trained_has_gradients():
    grads = modeler_of(trainable_vars=["head"]).model_fn((X, Y))["grads"]
    assert list(grads) == ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trainable_vars": ["haed"]}, r"trainable_vars: 'haed' fits no .*'head'"),
        ({"l2_weight_decay": 1.0, "skip_l2_loss_vars": ["bais"]}, r"'bais' fits no .*'bias'"),
    ],
)
def test_a_filter_that_fits_nothing_is_refused(values: dict[str, Any], message: str):
    with pytest.raises(DefinitionError, match=message):
        modeler_of(**values).model_fn((X, Y))


def test_the_learning_rate_is_that_of_the_first_step():
    schedule = optimizers.schedules.PiecewiseConstant([5], [0.3, 0.2])
    assert modeler_of(learning_rate=0.25).learning_rate == 0.25
    assert modeler_of(learning_rate=schedule).learning_rate == 0.3
    given = modeler_of(create_learning_rate_fn=lambda: 0.125)
    assert given.learning_rate == given.optimizer.learning_rate == 0.125
    own = modeler_of(optimizer=optimizers.Adam(0.5), learning_rate=None)
    assert (own.learning_rate, own.optimizer) == (0.5, optimizers.Adam(0.5))


def test_rates_in_epochs_need_the_number_of_examples():
    values = {"piecewise_boundaries": [1], "piecewise_learning_rate_decay": [1.0, 0.1]}
    with pytest.raises(ParamsError, match="num_examples"):
        _ = modeler_of(**values).learning_rate
    assert modeler_of(**values, num_examples=100).learning_rate == pytest.approx(0.1)


def test_an_optimizer_may_be_made_by_a_function():
    def made(learning_rate: float, config: Any) -> optimizers.Optimizer:
        return optimizers.RMSProp(learning_rate / config.gpu_count)

    assert modeler_of(create_optimizer=made, gpu_count=2).optimizer == optimizers.RMSProp(0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Modeler(cast(Any, "train")), r"config must be a ModelerConfig"),
        (lambda: Modeler(ModelerConfig(), cast(Any, nn)), r"net must be a function.*as `net`"),
        (lambda: modeler_of(create_loss_fn=3), r"create_loss_fn must be a function"),
        (lambda: modeler_of(create_loss_fn=lambda a, b, c: a), r"'c' that nobody gives"),
        (lambda: Modeler(ModelerConfig()).model_fn((X, Y)), r"has no create_graph_fn. Give it as"),
        (
            lambda: modeler_of(optimizer=None, learning_rate=None).optimizer,
            r"training needs an optimizer",
        ),
    ],
)
def test_what_can_t_be_called_is_refused_with_the_cure(make: Any, message: str):
    with pytest.raises(DefinitionError, match=message):
        make()


def test_the_names_are_exported():
    assert dovetail.Modeler is Modeler
    assert dovetail.ModelerConfig is ModelerConfig

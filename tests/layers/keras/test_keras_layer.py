"""Keras layers inside a model_fn, beside the same layers called by plain Keras on torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
import torch
from torch import Tensor

import dovetail
from dovetail import layers
from dovetail.errors import DefinitionError
from dovetail.layers.keras.copying import copied
from dovetail.program.program import Program

kl: Any = keras.layers
lay = layers.layer


def program(net: Callable[[Tensor], Tensor], **settings: Any) -> Program:
    """A program that trains a net to give its labels, what the layers' losses add included."""

    def model_fn(features: Any, labels: Any, mode: Any, params: Any) -> dovetail.EstimatorSpec:
        output = net(features)
        if mode == dovetail.ModeKeys.PREDICT:
            return dovetail.EstimatorSpec(mode, output)
        loss = torch.mean((output - labels) ** 2) + layers.regularization_loss()
        train_op = dovetail.optimizers.SGD(0.1).minimize(loss)
        return dovetail.EstimatorSpec(mode, output, loss, train_op)

    return dovetail.build(model_fn, device="cpu", **settings)


def batch(*shape: int, classes: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if classes:
        return torch.randint(0, classes, shape, generator=generator)
    return torch.randn(shape, generator=generator)


VECTORS, SEQUENCES, WORDS = batch(4, 5), batch(4, 6, 5), batch(4, 6, classes=7)

NETS: dict[str, tuple[Callable[[Tensor], Any], Tensor]] = {
    "dense": (lambda x: lay(kl.Dense, 8, activation="relu")(x), VECTORS),
    "batch norm": (lambda x: lay(kl.BatchNormalization)(lay(kl.Dense, 8)(x)), VECTORS),
    "layer norm": (lambda x: lay(kl.LayerNormalization)(lay(kl.Rescaling, 2.0)(x)), VECTORS),
    "dropout": (lambda x: lay(kl.Dropout, 0.5)(lay(kl.Dense, 8)(x)), VECTORS),
    "seeded dropout": (lambda x: lay(kl.Dropout, 0.5, seed=1)(lay(kl.Dense, 8)(x)), VECTORS),
    "noise": (lambda x: lay(kl.GaussianNoise, 0.5)(lay(kl.Dense, 8)(x)), VECTORS),
    "global seed": (lambda x: x + keras.random.normal(x.shape), VECTORS),
    "lstm": (lambda x: lay(kl.LSTM, 4, dropout=0.2)(x), SEQUENCES),
    "gru both ways": (lambda x: lay(kl.Bidirectional, kl.GRU(4))(x), SEQUENCES),
    "embedding": (
        lambda x: lay(kl.LSTM, 4)(lay(kl.Embedding, 7, 4, mask_zero=True)(x)),
        WORDS,
    ),
    "attention": (lambda x: lay(kl.MultiHeadAttention, 2, 4)(x, x).mean(1), SEQUENCES),
    "convolution": (lambda x: lay(kl.Conv1D, 3, 2)(x).mean(1), SEQUENCES),
    "regularized": (
        lambda x: lay(kl.Dense, 4, kernel_regularizer=keras.regularizers.L2(0.1))(x),
        VECTORS,
    ),
    "activity": (lambda x: lay(kl.Dense, 4, activity_regularizer="l1")(x), VECTORS),
    "frozen": (lambda x: lay(kl.Dense, 4, trainable=False)(x), VECTORS),
}


@pytest.mark.parametrize("name", NETS)
def test_two_programs_of_a_layer_train_alike_and_evaluation_changes_nothing(name: str) -> None:
    net, features = NETS[name]
    labels = batch(4, 3)

    def whole(x: Tensor) -> Tensor:
        return lay(kl.Dense, 3)(net(x))

    made = [program(whole), program(whole)]
    losses = [[float(p.train_step(features, labels)["loss"]) for _ in range(3)] for p in made]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 3
    before = {key: value.clone() for key, value in made[0].state().items()}
    assert before.keys() == made[1].state().keys()
    for _ in range(2):
        made[0].eval_step(features, labels)
        made[0].predict_step(features)
    assert all(torch.equal(value, before[key]) for key, value in made[0].state().items())


def test_variables_have_readable_names_and_kinds() -> None:
    def net(x: Tensor) -> Tensor:
        x = lay(kl.BatchNormalization)(lay(kl.Dense, 8)(x))
        x = lay(kl.Bidirectional, kl.LSTM(2))(x[:, None])
        return lay(kl.Dense, 3, name="head")(lay(kl.Dense, 4)(x))

    network = program(net, example=(VECTORS, batch(4, 3))).network
    parameters = {name for name, _ in network.named_parameters()}
    buffers = {name for name, _ in network.named_buffers()} - {"global_step"}
    assert {"dense.kernel", "dense.bias", "dense_1.kernel", "head.kernel"} <= parameters
    assert {"batchnormalization.gamma", "batchnormalization.beta"} <= parameters
    assert "bidirectional.forward_lstm.lstm_cell.recurrent_kernel" in parameters
    assert buffers == {"batchnormalization.moving_mean", "batchnormalization.moving_variance"}


def test_building_leaves_no_trace_in_moving_statistics() -> None:
    made = program(
        lambda x: lay(kl.BatchNormalization)(x), example=(VECTORS + 5, torch.zeros(4, 5))
    )
    state = made.state()
    assert state["batchnormalization.moving_mean"].eq(0).all()
    assert state["batchnormalization.moving_variance"].eq(1).all()
    made.train_step(VECTORS + 5, torch.zeros(4, 5))
    expected = 0.01 * (VECTORS + 5).mean(0)
    torch.testing.assert_close(state["batchnormalization.moving_mean"], expected)


def test_a_layer_follows_the_mode() -> None:
    def net(x: Tensor) -> Tensor:
        return lay(kl.Dropout, 0.5)(lay(kl.Dense, 100)(x))

    made = program(net)
    labels = torch.zeros(4, 100)
    assert (made.train_step(VECTORS, labels)["predictions"]["output"] == 0).any()
    assert not (made.eval_step(VECTORS, labels)["predictions"]["output"] == 0).any()
    assert not (made.predict_step(VECTORS)["predictions"]["output"] == 0).any()


def test_what_a_call_pins_is_honoured_and_leaves_no_trace_in_evaluation() -> None:
    def net(x: Tensor) -> Tensor:
        x = lay(kl.BatchNormalization)(lay(kl.Dense, 100)(x), training=True)
        return lay(kl.Dropout, 0.5)(x, training=True)

    made = program(net)
    made.train_step(VECTORS, torch.zeros(4, 100))
    mean = made.state()["batchnormalization.moving_mean"].clone()
    predicted = made.predict_step(VECTORS)["predictions"]["output"]
    assert (predicted == 0).any()
    assert torch.equal(made.state()["batchnormalization.moving_mean"], mean)
    again, other = (made.predict_step(VECTORS, batch=b)["predictions"]["output"] for b in (0, 1))
    assert torch.equal(predicted, again)
    assert not torch.equal(predicted, other)


def nested() -> Any:
    inputs = keras.Input((5,))
    inner = keras.Model(inputs, kl.Dropout(0.5)(kl.Dense(100)(inputs), training=True))
    return keras.Sequential([inner, kl.Dropout(0.5)])


def test_pins_of_models_within_models_are_honoured_too() -> None:
    made = program(lambda x: lay(nested)(x), example=(VECTORS, torch.zeros(4, 100)))
    dropped = made.predict_step(VECTORS)["predictions"]["output"] == 0
    assert 0.3 < dropped.float().mean() < 0.7  # by the inner dropout alone


class EverTraining(kl.Layer):
    def call(self, x: Any, training: bool = True) -> Any:
        return x + 1 if training else x


class WithTorch(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.normal = torch.nn.BatchNorm1d(5)

    def call(self, x: Any) -> Any:
        return self.normal(x)


@pytest.mark.parametrize("made", [WithTorch, lambda: keras.Sequential([EverTraining()])])
def test_what_trains_unless_told_is_told(made: Any) -> None:
    with layers.scope() as store:
        found = lay(made, name="net")
        found(VECTORS)
        before = {name: value.clone() for name, value in store.state_dict().items()}
        store.train(False)
        output = found(VECTORS)
        assert made is WithTorch or torch.equal(output, VECTORS)
        assert all(torch.equal(value, before[n]) for n, value in store.state_dict().items())


def test_a_layer_s_losses_are_those_of_keras_and_do_not_accumulate() -> None:
    twin: list[Any] = []

    def net(x: Tensor) -> Tensor:
        found = lay(kl.Dense, 4, kernel_regularizer="l2", activity_regularizer="l1")
        twin[:] = [found.given]
        return found(x)

    made = program(net)
    for _ in range(3):
        made.train_step(VECTORS, torch.zeros(4, 4))
    evaluated = float(made.eval_step(VECTORS, torch.zeros(4, 4))["loss"])
    plain = copied(twin[0])
    with torch.no_grad():
        output = plain(VECTORS)
    expected = float(torch.mean(output**2) + sum(loss.detach() for loss in plain.losses))
    assert len(plain.losses) == 2
    assert evaluated == pytest.approx(expected, rel=1e-6)
    assert not twin[0]._losses


def test_a_shared_layer_s_weights_are_penalised_once() -> None:
    def net(x: Tensor) -> Tensor:
        for _ in range(3):
            x = lay(kl.Dense, 5, kernel_regularizer="l2", name="same")(x)
        return x

    with layers.scope() as store:
        net(VECTORS)
        penalty = layers.regularization_loss()
    kernel = dict(store.named_parameters())["same.kernel"]
    torch.testing.assert_close(penalty, 0.01 * kernel.square().sum())


def test_losses_of_a_layer_reach_the_gradients() -> None:
    def net(x: Tensor) -> Tensor:
        return 0 * lay(kl.Dense, 4, kernel_regularizer="l2", use_bias=False)(x)

    made = program(net, example=(VECTORS, torch.zeros(4, 4)))
    before = made.state()["dense.kernel"].clone()
    made.train_step(VECTORS, torch.zeros(4, 4))
    torch.testing.assert_close(made.state()["dense.kernel"], before * (1 - 0.1 * 2 * 0.01))


def test_a_mask_reaches_the_next_layer() -> None:
    words = torch.tensor([[1, 2, 0, 0]])

    def net(x: Tensor) -> Tensor:
        return lay(kl.LSTM, 4)(lay(kl.Embedding, 7, 4, mask_zero=True)(x))

    made = program(net, example=(words, torch.zeros(1, 4)))
    masked, longer = (
        made.predict_step(w)["predictions"]["output"]
        for w in (words, torch.tensor([[1, 2, 0, 0, 0, 0]]))
    )
    assert torch.equal(masked, longer)


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    def net(x: Tensor) -> Tensor:
        return lay(kl.Dense, 3)(lay(kl.BatchNormalization)(x))

    made = program(net, freeze=["batchnormalization.*"])
    output = made.train_step(VECTORS + 5, torch.zeros(4, 3))["predictions"]["output"]
    state = made.state()
    assert state["batchnormalization.moving_mean"].eq(0).all()
    fresh = program(net)
    assert torch.equal(output, fresh.predict_step(VECTORS + 5)["predictions"]["output"])


def test_layers_that_keras_froze_are_parameters_that_are_not_trained() -> None:
    def net(x: Tensor) -> Tensor:
        return lay(kl.Dense, 3)(lay(kl.Dense, 4, trainable=False)(x))

    made = program(net)
    made.train_step(VECTORS, torch.zeros(4, 3))
    trained = {name: p.requires_grad for name, p in made.network.named_parameters()}
    assert trained == {
        "dense.kernel": True,
        "dense.bias": True,
        "dense_1.kernel": False,
        "dense_1.bias": False,
    }


def test_a_layer_made_anew_at_each_call_is_refused() -> None:
    made = program(lambda x: lay(kl.Dense(3), name="head")(x))
    with pytest.raises(DefinitionError, match="given another Dense than at the first call"):
        made.train_step(VECTORS, torch.zeros(4, 3))


def test_a_layer_outside_the_program_is_named() -> None:
    with pytest.raises(DefinitionError, match=r"<Dense name=.*layers\.layer\(Dense, \.\.\.\)"):
        program(lambda x: kl.Dense(3)(x)).train_step(VECTORS, torch.zeros(4, 3))


def test_a_call_that_keras_refuses_names_the_layer_and_what_came() -> None:
    made = program(lambda x: lay(kl.Dense, 3, name="head")(x))
    made.train_step(VECTORS, torch.zeros(4, 3))
    with pytest.raises(DefinitionError, match=r"Keras Dense .*float32 \[4, 7\].*axis -1.*value 5"):
        made.predict_step(batch(4, 7))


def test_a_new_layer_in_a_built_program_is_refused() -> None:
    wanted = ["first"]

    def net(x: Tensor) -> Tensor:
        for name in wanted:
            x = lay(kl.Dense, 5, name=name)(x)
        return x

    made = program(net, example=(VECTORS, VECTORS))
    wanted.append("second")
    with pytest.raises(DefinitionError, match="'second' does not exist in this program"):
        made.train_step(VECTORS, VECTORS)


def test_a_layer_that_evaluation_calls_first_is_refused() -> None:
    def model_fn(features: Any, labels: Any, mode: Any) -> dovetail.EstimatorSpec:
        output = lay(kl.Dense, 5)(features)
        more = lay(kl.Dense, 5, name="late")
        if mode == dovetail.ModeKeys.EVAL:
            output = more(output)
        loss = torch.mean((output - labels) ** 2)
        train_op = dovetail.optimizers.SGD(0.1).minimize(loss)
        return dovetail.EstimatorSpec(mode, output, loss, train_op)

    made = dovetail.build(model_fn, device="cpu", example=(VECTORS, VECTORS))
    with pytest.raises(DefinitionError, match=r"called for the first time in a program that is"):
        made.eval_step(VECTORS, VECTORS)


def test_weights_of_a_state_dict_are_those_that_keras_has() -> None:
    made = program(lambda x: lay(kl.Dense, 3)(x), example=(VECTORS, torch.zeros(4, 3)))
    dense: Any = made.network.dense
    made.network.load_state_dict(
        {"dense.kernel": torch.ones(5, 3), "dense.bias": torch.zeros(3)}, assign=True
    )
    output = made.predict_step(VECTORS)["predictions"]["output"]
    torch.testing.assert_close(output, VECTORS.sum(1, keepdim=True).expand(4, 3))
    assert torch.equal(dense.given.kernel.value, torch.ones(5, 3))


def test_functional_call_replaces_weights_for_one_call() -> None:
    made = program(lambda x: lay(kl.Dense, 3)(x), example=(VECTORS, torch.zeros(4, 3)))
    before = made.predict_step(VECTORS)["predictions"]["output"]
    dense: Any = made.network.dense
    other = {"kernel": torch.ones(5, 3), "bias": torch.zeros(3)}
    output = torch.func.functional_call(dense, other, (VECTORS,))
    torch.testing.assert_close(output, VECTORS.sum(1, keepdim=True).expand(4, 3))
    assert torch.equal(made.predict_step(VECTORS)["predictions"]["output"], before)


def test_bfloat16_leaves_parameters_in_float32() -> None:
    made = program(lambda x: lay(kl.BatchNormalization)(lay(kl.Dense, 3)(x)), precision="bf16")
    losses = [float(made.train_step(VECTORS, torch.zeros(4, 3))["loss"]) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert {v.dtype for v in made.state().values()} == {torch.float32}


def test_activations_computed_anew_give_the_same_steps() -> None:
    def net(x: Tensor) -> Tensor:
        x = lay(kl.Dense, 6, kernel_regularizer="l2", activity_regularizer="l2")(x)
        return lay(mixed)(x)

    def mixed() -> Any:
        return keras.Sequential(
            [kl.BatchNormalization(), kl.Dropout(0.5), kl.GaussianNoise(0.1), kl.Dense(3)]
        )

    made = [program(net), program(net, recompute=["dense*", "mixed"])]
    for p in made:
        for _ in range(3):
            p.train_step(VECTORS, torch.zeros(4, 3))
    first, second = (p.state() for p in made)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_averages_take_the_place_of_keras_weights() -> None:
    made = program(lambda x: lay(kl.Dense, 1, use_bias=False)(x), ema_decay=0.5)
    made.train_step(VECTORS, torch.ones(4, 1))
    averages = made.averages
    assert averages is not None
    expected = VECTORS @ averages.state()["dense.kernel"]
    assert torch.equal(made.predict_step(VECTORS)["predictions"]["output"], expected)
    assert not torch.equal(VECTORS @ made.state()["dense.kernel"], expected)


def test_a_program_on_the_cpu_works_where_keras_would_use_another_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def net(x: Tensor) -> Tensor:
        x = lay(kl.LSTM, 4, dropout=0.1)(x)
        x = lay(kl.Dropout, 0.5, seed=3)(lay(kl.BatchNormalization)(lay(kl.Rescaling, 0.5)(x)))
        return lay(kl.Dense, 3, kernel_regularizer="l2", activity_regularizer="l1")(x)

    expected = [float(program(net).train_step(SEQUENCES, torch.zeros(4, 3))["loss"])]
    monkeypatch.setattr("keras.src.backend.torch.core.DEFAULT_DEVICE", "meta")
    made = program(net)
    assert [float(made.train_step(SEQUENCES, torch.zeros(4, 3))["loss"])] == expected
    made.eval_step(SEQUENCES, torch.zeros(4, 3))
    assert {value.device.type for value in made.state().values()} == {"cpu"}


def test_keras_computes_where_the_layer_was_moved() -> None:
    made = program(lambda x: lay(kl.Dense, 3)(x), example=(VECTORS, torch.zeros(4, 3)))
    made.network.to("meta")
    with layers.scope():
        output = made.network.dense(VECTORS.to("meta"))  # type: ignore[operator]
    assert output.device.type == "meta"

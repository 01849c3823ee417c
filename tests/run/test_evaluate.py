"""Evaluation: exact for any batches, of the checkpoint that was asked for, without a trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import dovetail
from dovetail import layers, metrics, optimizers
from dovetail.errors import CheckpointError, DataError, DefinitionError
from dovetail.run import checkpoint
from dovetail.run.estimator import Estimator
from dovetail.run.hooks import Hook
from dovetail.run.summaries import read_scalars


def binary_model_fn(features, labels, mode, params):
    """Tell positive from negative sums, with a metric of each kind."""
    x, w = features["x"], layers.get_variable("w", [4], initializer=torch.nn.init.ones_)
    # One column after the other: a product of matrices rounds differently at each batch size.
    logits = ((x[:, 0] * w[0] + x[:, 1] * w[1]) + x[:, 2] * w[2]) + x[:, 3] * w[3]
    scores = logits.sigmoid()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    wrong = ((scores > 0.5).long() != labels).float()
    return dovetail.EstimatorSpec(
        mode,
        {"score": scores, "logit": logits},
        loss,
        optimizers.SGD(0.1).minimize(loss),
        {
            "accuracy": metrics.accuracy(labels, (scores > 0.5).long()),
            "auc": metrics.auc(labels, logits),
            "rmse": metrics.root_mean_squared_error(labels.float(), scores),
            "mean_score": metrics.mean(scores),
            "wrong": wrong,
            "loss_again": loss,
        },
    )


@pytest.fixture(scope="module")
def many() -> tuple[np.ndarray, np.ndarray]:
    """1,000 examples, whose scores have ties."""
    generator = np.random.default_rng(1)
    x = generator.integers(-2, 3, size=(1000, 4)).astype(np.float32)
    noise = generator.normal(size=1000) * 2
    return x, (x.sum(1) + noise > 0).astype(np.int64)


@pytest.fixture(scope="module")
def binary(
    make_in: Callable[..., Estimator],
    many: tuple[np.ndarray, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> Estimator:
    x, y = many
    folder = tmp_path_factory.mktemp("binary")
    return make_in(folder, binary_model_fn).train(lambda: [({"x": x}, y)] * 5)


def pieces(many: tuple[np.ndarray, np.ndarray], size: int) -> list[Any]:
    x, y = many
    return [({"x": x[i : i + size]}, y[i : i + size]) for i in range(0, len(x), size)]


def test_metrics_do_not_depend_on_the_batches(
    binary: Estimator, many: tuple[np.ndarray, np.ndarray]
):
    found = [binary.evaluate(lambda size=size: pieces(many, size)) for size in (7, 64, 1000)]
    for other in found[:2]:
        assert other["auc"] == found[2]["auc"]
        for name, value in found[2].items():
            assert other[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_metrics_are_those_of_numpy_and_scikit_learn(
    binary: Estimator, many: tuple[np.ndarray, np.ndarray]
):
    x, y = many
    found = binary.evaluate(lambda: pieces(many, 64))
    logits = x.astype(np.float64) @ binary.get_variable_value("w.value").astype(np.float64)
    scores = 1 / (1 + np.exp(-logits))
    loss = np.mean(np.log1p(np.exp(-np.abs(logits))) + np.maximum(logits, 0) - logits * y)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["loss_again"] == pytest.approx(loss, rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean((scores > 0.5) == y))
    assert found["wrong"] == pytest.approx(np.mean((scores > 0.5) != y))
    assert found["mean_score"] == pytest.approx(scores.mean(), rel=1e-5)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((scores - y) ** 2)), rel=1e-5)
    assert found["auc"] == pytest.approx(roc_auc_score(y, logits.round(5)), abs=1e-6)
    assert found["global_step"] == 5


def weighted_model_fn(features, labels, mode, params):
    """A mean over tokens that are not padding (-1): its weight is their number."""
    w = layers.get_variable("w", [1], initializer=torch.nn.init.ones_)
    mask = labels >= 0
    errors = ((features - labels) * w)[mask]
    kind = params.kind
    loss = errors.abs().sum() if kind == "sum" else errors.abs().mean()
    weight = {"sum": "sum", "tokens": mask.sum(), "number": 1.0, "examples": None}[kind]
    train_op = optimizers.SGD(0.1).minimize(loss)
    return dovetail.EstimatorSpec(mode, features, loss, train_op, loss_weight=weight)


def test_the_loss_of_an_evaluation_weighs_batches_as_the_definition_says(
    make: Callable[..., Estimator],
):
    features = torch.arange(12.0).reshape(4, 3)
    labels = torch.tensor([[0.0, 0, 0], [1, 1, -1], [2, -1, -1], [3, 3, 3]])
    data = [(features[:1], labels[:1]), (features[1:], labels[1:])]
    errors = [(f - y).abs()[y >= 0] for f, y in data]
    means = [float(e.mean()) for e in errors]
    expected = {
        "tokens": float(torch.cat(errors).mean()),
        "sum": float(torch.cat(errors).sum()),
        "number": sum(means) / 2,
        "examples": (means[0] + 3 * means[1]) / 4,
    }
    for kind, loss in expected.items():
        estimator = make(kind, weighted_model_fn, {"kind": kind})
        estimator.train(lambda: data, max_steps=1)
        initial = checkpoint.listed(estimator.model_dir)[0]
        found = estimator.evaluate(lambda: data, checkpoint_path=initial)
        assert found["loss"] == pytest.approx(loss), kind


def test_a_host_function_gives_metrics_of_values_on_the_cpu(
    make: Callable[..., Estimator], many: tuple[np.ndarray, np.ndarray]
):
    kinds = []

    def host(labels, scores):
        kinds.append((type(labels), labels.device.type, scores.requires_grad))
        return {"auc": metrics.auc(labels, scores), "mean": scores.sigmoid()}

    def with_function(features, labels, mode, params):
        spec = binary_model_fn(features, labels, mode, params)
        call = (host, [labels, spec.predictions["logit"]])
        return dovetail.EstimatorSpec(
            mode, spec.predictions, spec.loss, spec.train_op, host_call=call
        )

    def with_metrics(features, labels, mode, params):
        spec = binary_model_fn(features, labels, mode, params)
        return dovetail.EstimatorSpec(
            mode, spec.predictions, spec.loss, spec.train_op, host_call=spec.eval_metric_ops
        )

    def input_fn():
        return pieces(many, 300)

    plain = make("a", binary_model_fn).train(input_fn).evaluate(input_fn)
    as_function = make("b", with_function, save_summary_steps=2).train(input_fn)
    found = as_function.evaluate(input_fn)
    assert found["auc"] == plain["auc"]
    assert found["mean"] == pytest.approx(plain["mean_score"])
    assert set(kinds) == {(torch.Tensor, "cpu", False)}
    assert [step for step, _ in read_scalars(as_function.model_dir)["auc"]] == [1, 2, 4]
    assert make("c", with_metrics).train(input_fn).evaluate(input_fn) == plain


def test_a_host_function_that_gives_no_dict_is_refused(
    make: Callable[..., Estimator], many: tuple[np.ndarray, np.ndarray]
):
    def model_fn(features, labels, mode, params):
        spec = binary_model_fn(features, labels, mode, params)
        call = (lambda scores: 3.0, [spec.predictions["score"]])
        return dovetail.EstimatorSpec(
            mode, spec.predictions, spec.loss, spec.train_op, host_call=call
        )

    with pytest.raises(DefinitionError, match="host_call returned a float; it must return a dict"):
        make("run", model_fn).train(lambda: pieces(many, 500))


def test_nothing_is_loaded_where_the_program_has_the_state_already(
    make: Callable[..., Estimator], records: Path, monkeypatch: pytest.MonkeyPatch
):
    loads = []
    load = checkpoint.load

    def counted(path):
        loads.append(path)
        return load(path)

    monkeypatch.setattr(checkpoint, "load", counted)
    estimator = make()
    for stop in (3, 5):
        estimator.train(records, max_steps=stop)
        estimator.evaluate(records)
        list(estimator.predict(records))
        next(estimator.predict(records))
        estimator.evaluate(records, name="again")
    assert loads == []
    make().evaluate(records)
    assert len(loads) == 1


def test_the_checkpoint_that_is_asked_for_is_evaluated(
    make: Callable[..., Estimator], records: Path
):
    estimator = make(save_checkpoints_steps=2)
    estimator.train(records, max_steps=2)
    second = estimator.evaluate(records)
    estimator.train(records, max_steps=6)
    sixth = estimator.evaluate(records)
    at_2, at_4 = [path for path in checkpoint.listed(estimator.model_dir) if path.name[-1] in "24"]
    assert estimator.evaluate(records, checkpoint_path=at_2) == second
    assert estimator.evaluate(records, checkpoint_path=str(at_4))["global_step"] == 4
    assert estimator.evaluate(records) == sixth
    assert second["loss"] != sixth["loss"]


def test_nothing_to_train_after_an_older_checkpoint_was_evaluated_gives_the_newest_again(
    make: Callable[..., Estimator], records: Path
):
    estimator = make(save_checkpoints_steps=2).train(records, max_steps=6)
    sixth = estimator.evaluate(records)
    older = checkpoint.listed(estimator.model_dir)[1]
    estimator.evaluate(records, checkpoint_path=older)
    assert estimator.train_run(records, max_steps=6).why == "nothing to do"
    assert estimator.evaluate(records) == sixth


def test_without_a_checkpoint_there_is_nothing_to_evaluate(
    make: Callable[..., Estimator], records: Path, tmp_path: Path
):
    estimator = make()
    with pytest.raises(CheckpointError, match="There is no checkpoint in .*run"):
        estimator.evaluate(records)
    with pytest.raises(CheckpointError, match="no checkpoint at .*nowhere"):
        estimator.evaluate(records, checkpoint_path=tmp_path / "nowhere")


def test_steps_bound_an_evaluation_and_hooks_see_it(make: Callable[..., Estimator], records: Path):
    estimator = make().train(records, max_steps=3)
    told = []

    class Diary(Hook):
        def begin(self, run):
            told.append(("begin", run.step))

        def after_step(self, run, output):
            told.append(("after", run.step, len(output["predictions"]["class"])))

        def end(self, run):
            told.append(("end", run.step))

    fresh = make()
    fresh.evaluate(records, steps=2, hooks=[Diary()])
    assert told == [("begin", 3), ("after", 3, 8), ("after", 3, 8), ("end", 3)]
    assert estimator.evaluate(records, steps=99) == estimator.evaluate(records)

    class Stop(Hook):
        def after_step(self, run, output):
            run.request_stop()

    assert estimator.evaluate(records, hooks=[Stop()]) == estimator.evaluate(records, steps=1)


def test_records_are_evaluated_once_in_their_order(
    make: Callable[..., Estimator], records: Path, batches: Callable[[int], list[Any]]
):
    estimator = make().train(records, max_steps=3)
    found = estimator.evaluate(records)
    assert found == estimator.evaluate(lambda: batches(8))
    larger = make(params={"eval_input": {"batch_size": 37}})
    assert larger.evaluate(records)["loss"] == pytest.approx(found["loss"], rel=1e-6)


def test_evaluations_are_logged_apart_and_once_for_each_step(
    make: Callable[..., Estimator], records: Path
):
    estimator = make().train(records, max_steps=2)
    first = estimator.evaluate(records)
    estimator.evaluate(records)
    estimator.evaluate(records, name="train")
    estimator.train(records, max_steps=4)
    second = estimator.evaluate(records)
    found = read_scalars(Path(estimator.model_dir) / "eval")
    assert found["accuracy"] == [
        (2, pytest.approx(first["accuracy"])),
        (4, pytest.approx(second["accuracy"])),
    ]
    assert set(found) == {"accuracy", "loss"}
    assert set(read_scalars(Path(estimator.model_dir) / "eval_train")) == {"accuracy", "loss"}


def test_an_evaluation_gives_the_same_each_time_with_dropout_left_on(
    make: Callable[..., Estimator], records: Path
):
    def model_fn(features, labels, mode, params):
        x = torch.nn.functional.dropout(features["x"], 0.5, training=True)
        logits = layers.fully_connected(x, 3, activation_fn=None)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return dovetail.EstimatorSpec(mode, logits, loss, optimizers.SGD(0.1).minimize(loss))

    estimator = make("run", model_fn).train(records, max_steps=2)
    found = estimator.evaluate(records)
    torch.manual_seed(99)
    assert estimator.evaluate(records) == found
    assert make("run", model_fn).evaluate(records) == found


def test_one_example_can_be_evaluated_by_a_fresh_estimator(
    make: Callable[..., Estimator], records: Path, batches: Callable[[int], list[Any]]
):
    make().train(records, max_steps=2)
    found = make().evaluate(lambda: batches(1), steps=1)
    assert np.isfinite(found["loss"])


def test_an_empty_input_is_an_error(make: Callable[..., Estimator], records: Path):
    estimator = make().train(records, max_steps=1)
    with pytest.raises(DataError, match="gave no batch, so there is nothing to evaluate"):
        estimator.evaluate(lambda: [])
    assert estimator.evaluate(records)["global_step"] == 1


def test_an_unlabelled_evaluation_works_where_the_definition_does_without(
    make: Callable[..., Estimator], table: dict[str, np.ndarray]
):
    def autoencoder(features, labels, mode, params):
        y = layers.fully_connected(features, 5, activation_fn=None)
        loss = torch.mean((y - features) ** 2)
        return dovetail.EstimatorSpec(mode, y, loss, optimizers.SGD(0.1).minimize(loss))

    def input_fn():
        return [table["x"][:8]] * 3

    estimator = make("run", autoencoder).train(input_fn)
    found = estimator.evaluate(input_fn)
    fresh = make("run", autoencoder)
    assert fresh.evaluate(input_fn) == found
    fresh.train(input_fn, steps=1)
    assert fresh.get_variable_value("global_step") == 4


def test_a_changed_optimizer_stands_in_the_way_of_training_only(tmp_path: Path):
    def with_optimizer(optimizer: Any) -> Callable[..., Any]:
        def model_fn(features, labels, mode):
            output = layers.fully_connected(features["x"], 1, activation_fn=None)
            if mode == dovetail.ModeKeys.PREDICT:
                return dovetail.EstimatorSpec(mode, {"y": output})
            loss = ((output - labels) ** 2).mean()
            return dovetail.EstimatorSpec(mode, None, loss, optimizer.minimize(loss))

        return model_fn

    x = torch.ones(4, 2)

    def input_fn():
        return [({"x": x}, torch.ones(4, 1))] * 3

    config = dovetail.RunConfig(str(tmp_path), progress=False)
    trained = Estimator(with_optimizer(optimizers.SGD(0.1)), config=config).train(input_fn)
    expected = trained.evaluate(input_fn)
    changed = Estimator(with_optimizer(optimizers.Adam(0.1)), config=config)
    assert changed.evaluate(input_fn) == expected
    assert next(changed.predict(input_fn))["y"] == next(trained.predict(input_fn))["y"]
    with pytest.raises(CheckpointError, match="optimizer"):
        changed.train(input_fn)

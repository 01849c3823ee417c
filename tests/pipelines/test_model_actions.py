"""The actions on models that every batch has."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dovetail
from dovetail import Batch, Dataset, Pipeline, action, model
from dovetail.data.pipeline.named import Component, Function, Variable
from dovetail.errors import DataError, DefinitionError, ParamsError

X = {"x": "x"}


@pytest.fixture
def program(model_file: Path) -> Any:
    return dovetail.build(str(model_file), device="cpu", seed=1)


def with_model(dataset: Dataset, descriptor: Any) -> Dataset:
    """The data set, its batches having a model "net"."""

    class WithNet(dataset.batch_class):
        @model
        def net(self):
            return descriptor() if inspect.isfunction(descriptor) else descriptor

    return Dataset(dataset.index, WithNet, preloaded=dataset.source)


def test_training_in_a_pipeline_is_training_by_hand(flowers: Dataset, model_file: Path):
    def built():
        return dovetail.build(str(model_file), device="cpu", seed=1)

    pipeline = (
        with_model(flowers, built)
        .p.init_variable("losses", [])
        .train_model("net", X, "y", save_to=Variable("losses", "append"))
    )
    pipeline.run(16, shuffle=3, n_epochs=2)
    by_hand, losses = built(), []
    for batch in flowers.gen_batch(16, shuffle=3, n_epochs=2):
        losses.append(float(by_hand.train_step({"x": batch.x}, batch.y)["loss"]))
    assert pipeline.get_variable("losses") == losses
    trained = pipeline.get_model_by_name("net").state()
    assert all(torch.equal(trained[name], value) for name, value in by_hand.state().items())


def test_metrics_are_those_of_all_items_at_once(flowers: Dataset, program: Any):
    dataset = with_model(flowers, program)
    dataset.p.train_model("net", X, "y").run(16, n_epochs=3)
    values = []
    for size in (7, 16, 50):
        pipeline = dataset.p.evaluate_model("net", X, "y")
        pipeline.run(size, prefetch=2)
        values.append(pipeline.metrics("net"))
    batch = next(flowers.gen_batch(50))
    right = program.predict_step({"x": batch.x})["predictions"]["classes"].numpy() == batch.y
    whole = program.eval_step({"x": batch.x}, batch.y)["loss"]
    for value in values:
        assert value["accuracy"] == pytest.approx(right.mean())
        assert value["loss"] == pytest.approx(float(whole), rel=1e-6)
        assert value["auc"] == values[-1]["auc"]
        assert value["global_step"] == 10


def test_each_run_measures_anew(flowers: Dataset, program: Any):
    dataset = with_model(flowers, program)
    pipeline = dataset.p.evaluate_model("net", X, "y")
    first = pipeline.run(16).metrics("net")
    dataset.p.train_model("net", X, "y").run(16, n_epochs=20)
    fresh = dataset.p.evaluate_model("net", X, "y").run(16).metrics("net")
    assert first["loss"] != fresh["loss"]
    assert pipeline.run(16).metrics("net") == fresh


def test_predictions_go_to_components_and_variables(flowers: Dataset, program: Any):
    pipeline = (
        with_model(flowers, program)
        .p.init_variable("all", [])
        .predict_model(
            "net",
            X,
            save_to={"classes": Component("predicted"), "probabilities": Variable("all", "extend")},
        )
    )
    batches = list(pipeline.gen_batch(16, prefetch=2))
    for batch in batches:
        assert batch.predicted.shape == (len(batch),)
        expected = program.predict_step({"x": batch.x})["predictions"]["classes"]
        np.testing.assert_array_equal(batch.predicted, expected.numpy())
    assert np.stack(pipeline.get_variable("all")).shape == (50, 3)


def test_several_results_are_saved_at_once(flowers: Dataset, program: Any):
    pipeline = (
        with_model(flowers, program)
        .p.init_variable("loss")
        .init_variable("scores", [])
        .train_model(
            "net",
            {"x": Component("x")},
            Function(lambda batch: batch.y),
            save_to={
                "loss": Variable("loss"),
                "metrics": Variable("scores", "append"),
                "classes": "predicted",
            },
        )
    )
    for batch in pipeline.gen_batch(16):
        scores = pipeline.get_variable("scores")[-1]
        assert scores["accuracy"] == pytest.approx(np.mean(batch.predicted == batch.y))
        assert scores["loss"] == pytest.approx(pipeline.get_variable("loss"))
    assert len(pipeline.get_variable("scores")) == 4


class Mean:
    """A model that is no program: it predicts the mean of the labels."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def train_step(self, features: Any, labels: Any = None) -> Any:
        self.total, self.count = self.total + labels.sum(), self.count + len(labels)
        return {"loss": ((labels - self.total / self.count) ** 2).mean()}

    def eval_step(self, features: Any, labels: Any = None) -> Any:
        off = labels - self.total / self.count
        return {"loss": (off**2).mean(), "metrics": {"off": abs(off).mean()}}

    def predict_step(self, features: Any) -> Any:
        return np.full(len(features["x"]), self.total / self.count)


def test_any_descriptor_with_the_three_steps_will_do(flowers: Dataset):
    dataset = with_model(flowers, Mean())
    train = dataset.p.train_model("net", X, "y").run(16)
    test = dataset.p.import_model("net", train).evaluate_model("net", X, "y")
    test.run(16)
    labels = next(flowers.gen_batch(50)).y
    off = labels - labels.mean()
    assert test.metrics("net") == pytest.approx({"loss": (off**2).mean(), "off": abs(off).mean()})
    predicted = test.predict_model("net", X, save_to=Component("predicted")).next_batch(4)
    assert predicted.predicted.tolist() == pytest.approx([labels.mean()] * 4)


def test_an_action_of_the_users_own_takes_the_place_of_a_ready_one(flowers: Dataset):
    class Own(flowers.batch_class):
        @model(mode="static")
        def net(pipeline):
            return []

        @action(model="net")
        def train_model(self, model_spec: Any, session: Any):
            model_spec.append((session, len(self)))
            return self

    dataset = Dataset(flowers.index, Own, preloaded=flowers.source)
    pipeline = dataset.p.init_model("net").train_model("a session").run(20)
    assert pipeline.get_model_by_name("net") == [("a session", n) for n in (20, 20, 10)]


def test_a_model_is_saved_and_loaded_without_more_code(
    flowers: Dataset, model_file: Path, tmp_path: Path
):
    def built():
        return dovetail.build(str(model_file), device="cpu", seed=7)

    path = tmp_path / "saved"
    first = with_model(flowers, built).p.train_model("net", X, "y").save_model("net", path, every=3)
    first.run(16, n_iters=6)
    assert [one.name for one in (path / "checkpoints").iterdir()] == ["0000000006"]
    goes_on = with_model(flowers, built).p.load_model("net", path).train_model("net", X, "y")
    goes_on.run(16, n_iters=4)
    first.run(16, n_iters=4)
    one, other = first.get_model_by_name("net"), goes_on.get_model_by_name("net")
    assert one.global_step == other.global_step == 10
    assert all(torch.equal(v, other.state()[name]) for name, v in one.state().items())
    # And a run can go on from it.
    config = dovetail.RunConfig(device="cpu", progress=False)
    estimator = dovetail.Estimator(str(model_file), str(path), config)
    measured = estimator.evaluate(flowers.p.feed(X, "y"))
    saved_again = with_model(flowers, built).p.load_model("net", path).evaluate_model("net", X, "y")
    assert saved_again.run(9).metrics("net") == pytest.approx(measured)


def test_a_model_is_loaded_once_for_each_pipeline(flowers: Dataset, program: Any, tmp_path: Path):
    dataset = with_model(flowers, program)
    dataset.p.train_model("net", X, "y").save_model("net", tmp_path / "saved").run(16, n_iters=2)
    pipeline = dataset.p.load_model("net", tmp_path / "saved").train_model("net", X, "y")
    pipeline.run(16, n_iters=3)
    assert program.global_step == 5
    pipeline.run(16, n_iters=3)
    assert program.global_step == 8


def test_a_runs_own_checkpoints_are_not_replaced(
    flowers: Dataset, model_file: Path, tmp_path: Path
):
    config = dovetail.RunConfig(device="cpu", progress=False)
    dovetail.Estimator(str(model_file), str(tmp_path / "run"), config).train(
        flowers.p.feed(X, "y"), max_steps=2
    )
    program = dovetail.build(str(model_file), device="cpu")
    pipeline = with_model(flowers, program).p.train_model("net", X, "y")
    with pytest.raises(DataError, match="is the model_dir of a run"):
        pipeline.save_model("net", tmp_path / "run").run(16)


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("target", ["threads", "processes"])
def test_batches_come_to_a_model_in_order(prefetch: int, target: str, flowers: Dataset):
    if (prefetch, target) == (0, "processes"):
        pytest.skip("the same as with threads")
    order: list[int] = []

    class Noting(Mean):
        def train_step(self, features: Any, labels: Any = None) -> Any:
            order.append(int(features["n"]))
            return {"loss": 0.0}

    source = with_model(flowers, Noting()).p.train_model(
        "net", {"n": Function(lambda batch: 0)}, "y"
    )
    source.run(50)
    order.clear()
    columns = {name: np.arange(50) for name in ("x", "y")}
    step = {"n": Function(lambda batch: batch.iteration)}
    pipeline = Dataset(50, preloaded=columns).p.import_model("net", source)
    pipeline.train_model("net", step, "y").run(4, prefetch=prefetch, target=target)
    assert order == list(range(13))


def test_what_does_not_fit_is_said(flowers: Dataset, program: Any, tmp_path: Path):
    def trained(dataset: Dataset, *args: Any, **kwargs: Any) -> Any:
        return dataset.p.train_model(*args, **kwargs).run(16)

    dataset = with_model(flowers, program)
    with pytest.raises(DefinitionError, match=r"is a Linear, which has no train_step"):
        trained(with_model(flowers, torch.nn.Linear(4, 3)), "net", X, "y")
    with pytest.raises(ParamsError, match="no model 'nett'.*Did you mean 'net'"):
        trained(dataset, "nett", X, "y")
    with pytest.raises(DataError, match="no component 'z'"):
        trained(dataset, "net", {"x": "z"}, "y")
    with pytest.raises(ParamsError, match="no 'classses' to save. Did you mean 'classes'"):
        trained(dataset, "net", X, "y", save_to={"classses": "predicted"})
    with pytest.raises(ParamsError, match="save_to is a Component, a Variable"):
        trained(dataset, "net", X, "y", save_to=3)
    with pytest.raises(DataError, match="no component 'z'"):
        trained(dataset, "net", X, "y", save_to="z")
    with pytest.raises(ParamsError, match="no variable 'z'"):
        trained(dataset, "net", X, "y", save_to=Variable("z", "append"))
    with pytest.raises(ParamsError, match="was not evaluated"):
        dataset.p.metrics("net")
    with pytest.raises(DefinitionError, match="save_model is for Dovetail programs"):
        with_model(flowers, Mean()).p.save_model("net", tmp_path / "s").run(16)
    with pytest.raises(DataError, match="belongs to no pipeline"):
        Batch([1]).train_model("net")
    with pytest.raises(ParamsError, match="every is a number of batches"):
        dataset.p.save_model("net", tmp_path, every=0).run(16)


def test_a_template_has_the_actions_too(flowers: Dataset, program: Any):
    template = Pipeline().train_model("net", X, "y") @ 1.0
    (template << with_model(flowers, program)).run(25)
    assert program.global_step == 2

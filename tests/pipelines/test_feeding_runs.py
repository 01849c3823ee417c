"""A pipeline, or a data set, that feeds an Estimator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dovetail
from dovetail import Batch, Dataset, ImagesBatch, Pipeline, action, layers, metrics, optimizers
from dovetail.cli.main import main
from dovetail.data.pipeline.named import Component
from dovetail.data.record_writer import RecordWriter
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError, ParamsError
from dovetail.run.checkpoint import latest
from dovetail.run.flow_data import data_of, fingerprint


class Points(Batch):
    components = "x", "y"

    @action
    def shifted(self):
        self.x = self.x + self.uniform(shape=(3,))
        return self

    @action
    def by_the_global_generators(self):
        self.x = (self.x + np.random.rand(3) + torch.rand(3).numpy()).astype("float32")
        return self


RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(20, 3)).astype("float32")
Y = (X.sum(1) > 0).astype("int64")


def points(*, labelled: bool = True) -> Dataset:
    return Dataset(20, Points, preloaded={"x": X, "y": Y} if labelled else {"x": X})


def model_fn(features, labels, mode):
    x = features["x"] if isinstance(features, dict) else features
    x = x.reshape(len(x), -1).float()
    logits = layers.fully_connected(layers.dropout(x, keep_prob=0.8), 2, activation_fn=None)
    predictions = {"class": logits.argmax(1), "logits": logits}
    if mode == dovetail.ModeKeys.PREDICT:
        return dovetail.EstimatorSpec(mode, predictions)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return dovetail.EstimatorSpec(
        mode,
        predictions,
        loss,
        optimizers.Adam(0.05).minimize(loss),
        {"accuracy": metrics.accuracy(labels, logits.argmax(1))},
    )


def estimator(model_dir: Path, **settings: Any) -> dovetail.Estimator:
    config = dovetail.RunConfig(device="cpu", progress=False, **settings)
    return dovetail.Estimator(model_fn, str(model_dir), config)


def parameters(trained: dovetail.Estimator) -> dict[str, np.ndarray]:
    return {n: trained.get_variable_value(n) for n in trained.get_variable_names()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


def seen(source: Any, tmp_path: Path, mode: str = "train", **options: Any) -> list[Any]:
    """What a run would be fed with."""
    opened = estimator(tmp_path).open_input(source, mode, **options)
    return [(fed.features, fed.labels) for fed in opened.batches(0)]


def test_an_estimator_trains_evaluates_and_predicts_from_pipelines(tmp_path: Path):
    made = estimator(tmp_path, seed=3)
    pipeline = points().p.run(8, shuffle=True, n_epochs=12, lazy=True)
    made.train(lambda: pipeline.feed(features={"x": "x"}, labels="y"))
    assert made.get_variable_value("global_step") == 20 * 12 // 8
    measured = made.evaluate(points().p.feed(features="x", labels="y", batch_size=7))
    predicted = list(made.predict(points(labelled=False).p.feed("x", "y", batch_size=6)))
    assert len(predicted) == 20
    right = np.mean([row["class"] for row in predicted] == Y)
    assert measured["accuracy"] == pytest.approx(right)
    assert right > 0.8


def test_what_is_fed_is_what_the_pipeline_gives(tmp_path: Path):
    pipeline = points().p.shifted().run(8, shuffle=5, n_epochs=2, lazy=True)
    fed = seen(pipeline.feed("x", "y"), tmp_path)
    batches = list(pipeline.gen_batch())
    assert len(fed) == len(batches) == 5
    for (features, labels), batch in zip(fed, batches, strict=True):
        np.testing.assert_array_equal(features.numpy(), batch.x)
        np.testing.assert_array_equal(labels.numpy(), batch.y)


@pytest.mark.parametrize(
    "features",
    ["x", Component("x"), lambda batch: batch.x, {"a": "x", "b": Component("x")}, ["x"]],
    ids=["name", "named", "function", "dict", "list"],
)
def test_features_may_be_named_in_several_ways(features: Any, tmp_path: Path):
    (got, labels), *_ = seen(points().p.feed(features, "y", 20), tmp_path)
    for value in got.values() if isinstance(got, dict) else [got]:
        np.testing.assert_array_equal(value.numpy(), X)
    np.testing.assert_array_equal(labels.numpy(), Y)


def test_without_names_the_component_called_label_is_the_labels(tmp_path: Path):
    data = {"x": X, "label": Y[:, None]}
    (features, labels), *_ = seen(Dataset(20, preloaded=data).p.feed(batch_size=20), tmp_path)
    assert list(features) == ["x"]
    np.testing.assert_array_equal(labels.numpy(), Y)


def test_a_dataset_of_records_is_fed_as_the_records_are(tmp_path: Path):
    schema = Schema([Field("x", (3,), "float32"), Field("label", (1,), "int64")])
    with RecordWriter(str(tmp_path / "records"), schema) as writer:
        for x, y in zip(X, Y, strict=True):
            writer.append((x, y))
    records = str(tmp_path / "records")
    made = {}
    for name, source in [("records", records), ("dataset", Dataset.from_records(records))]:
        made[name] = estimator(tmp_path / name, seed=4)
        made[name].train(source, max_steps=9)
    assert same(parameters(made["records"]), parameters(made["dataset"]))
    assert made["records"].evaluate(records) == made["dataset"].evaluate(
        Dataset.from_records(records)
    )


class Stopped(dovetail.Hook):
    """Ends a run as a kill does: nothing is saved after it."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, run: Any, output: Any) -> None:
        if run.step == self.step:
            raise InterruptedError


class Pictures(ImagesBatch):
    components = "x", "y"


PICTURES = np.random.default_rng(1).integers(0, 256, (30, 6, 6, 1), dtype=np.uint8)


def augmented(prefetch: int, target: str = "threads") -> Pipeline:
    dataset = Dataset(30, Pictures, preloaded={"x": PICTURES, "y": np.arange(30) % 2})
    actions = Pipeline().flip(component="x").random_rotate((-20, 20), component="x") @ 0.7
    return (actions << dataset).run(
        8, shuffle=True, n_epochs=None, prefetch=prefetch, target=target, lazy=True
    )


@pytest.mark.parametrize("killed_at", [1, 5, 8])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_killed_run_gone_on_with_equals_the_undisturbed_one(
    killed_at: int, prefetch: int, tmp_path: Path
):
    def input_fn():
        return augmented(prefetch).feed({"x": "x"}, "y")

    undisturbed = estimator(tmp_path / "whole", save_checkpoints_steps=2)
    undisturbed.train(input_fn, max_steps=12)
    struck = estimator(tmp_path / "struck", save_checkpoints_steps=2)
    with pytest.raises(InterruptedError):
        struck.train(input_fn, max_steps=12, hooks=[Stopped(killed_at)])
    struck = estimator(tmp_path / "struck", save_checkpoints_steps=2)
    struck.train(input_fn, max_steps=12)
    assert same(parameters(undisturbed), parameters(struck))


@pytest.mark.parametrize("change", [lambda p: p.rebatch(5), lambda p: p.merge(augmented(0))])
def test_so_does_one_with_batches_of_another_size_or_of_two_pipelines(change: Any, tmp_path: Path):
    def input_fn():
        return change(augmented(2)).feed({"x": "x"}, "y")

    undisturbed = estimator(tmp_path / "whole")
    undisturbed.train(input_fn, max_steps=9)
    struck = estimator(tmp_path / "struck")
    for last in (4, 5, 9):
        struck = estimator(tmp_path / "struck")
        struck.train(input_fn, max_steps=last)
    assert same(parameters(undisturbed), parameters(struck))


def test_what_is_made_ahead_changes_nothing(tmp_path: Path):
    made = []
    for prefetch in (0, 4):
        made.append(estimator(tmp_path / str(prefetch)))
        made[-1].train(augmented(prefetch).feed("x", "y"), max_steps=7)
    assert same(*map(parameters, made))


def test_actions_that_draw_from_global_generators_are_repeated_too(tmp_path: Path, capsys: Any):
    def input_fn():
        pipeline = points().p.by_the_global_generators()
        return pipeline.feed("x", "y", batch_size=4, shuffle=True, n_epochs=None, prefetch=3)

    undisturbed = estimator(tmp_path / "whole")
    undisturbed.train(input_fn, max_steps=9)
    for last in (4, 9):
        struck = estimator(tmp_path / "struck")
        struck.train(input_fn, max_steps=last)
    assert same(parameters(undisturbed), parameters(struck))
    source = estimator(tmp_path).open_input(input_fn, "train")
    next(source.batches(0))
    assert "draws from a global generator" in (source.note(0, 0) or "")


def test_a_run_ends_where_the_pass_ends(tmp_path: Path):
    made = estimator(tmp_path)
    source = made.open_input(points().p.feed("x", "y", batch_size=8, n_epochs=3), "train")
    assert source.total == 60
    made.train(points().p.feed("x", "y", batch_size=8, n_epochs=3))
    assert made.get_variable_value("global_step") == 8
    made.train(points().p.feed("x", "y", batch_size=8, n_epochs=3))  # its end is its end
    assert made.get_variable_value("global_step") == 8


def test_the_seed_of_the_run_orders_what_says_no_seed(tmp_path: Path):
    def order(seed: int) -> list[int]:
        opened = estimator(tmp_path, seed=seed).open_input(points(), "train")
        return np.concatenate([f.features["x"].numpy() for f in opened.batches(0)])[:, 0].tolist()

    assert order(1) != order(2)
    assert order(1) == order(1)
    assert sorted(order(1)) == sorted(X[:, 0].tolist())


def test_the_data_of_two_pipelines_are_told_apart():
    assert fingerprint(points()) == fingerprint(points())
    other = X.copy()
    other[0, 0] += 1
    changed = Dataset(20, Points, preloaded={"x": other, "y": Y})
    assert fingerprint(points()) != fingerprint(changed)
    assert fingerprint(points()) != fingerprint(points().subset_by_pos(np.arange(19)))


def test_a_run_on_other_data_says_so(tmp_path: Path, capsys: Any):
    def fed(pipeline: Any) -> Any:
        return pipeline.feed("x", "y", batch_size=4, n_epochs=None)

    config = dovetail.RunConfig(device="cpu", progress=True)
    made = dovetail.Estimator(model_fn, str(tmp_path), config)
    made.train(fed(points().p), max_steps=1)
    capsys.readouterr()
    made.train(fed(points().subset_by_pos(np.arange(19)).p.shifted()), max_steps=2)
    said = capsys.readouterr().err
    assert "the data was 20 rows of Dataset(20 items, Points)" in said
    assert "is 19 rows" in said


def test_a_run_says_which_items_a_bad_batch_held(tmp_path: Path):
    wrong = Dataset(20, Points, preloaded={"x": X, "y": Y + 7})
    with pytest.raises(Exception, match=r"items 0, 1, 2, 3 of the pipeline") as caught:
        estimator(tmp_path).train(wrong.p.feed("x", "y", batch_size=4))
    assert caught.value is not None


def test_what_makes_no_sense_is_refused_at_once(tmp_path: Path):
    with pytest.raises(DataError, match="no data set"):
        Pipeline().feed("x", "y")
    with pytest.raises(ParamsError, match="Did you mean 'shuffle'"):
        points().p.feed("x", "y", 4, shufle=True)
    with pytest.raises(ParamsError, match=r"features\['a'\] is the name of a component"):
        points().p.feed({"a": 3}, "y", 4)
    with pytest.raises(DataError, match="Name both"):
        points().p.feed(labels="y", batch_size=4)
    with pytest.raises(DataError, match="no component 'z'"):
        seen(points().p.feed("z", "y", 4), tmp_path)
    uneven = [np.zeros((2 + n % 2,)) for n in range(20)]
    with pytest.raises(DataError, match="differ in shape"):
        seen(Dataset(20, preloaded={"x": uneven}).p.feed("x", batch_size=4), tmp_path)


def test_a_checkpoint_of_another_input_is_said_or_refused(tmp_path: Path, capsys: Any):
    batch = (torch.from_numpy(X), torch.from_numpy(Y))
    estimator(tmp_path).train(lambda: [batch] * 2)
    source = estimator(tmp_path).open_input(points().p.feed("x", "y", 4), "train")
    list(source.batches(40, state={"position": 40, "began_at": 0, "held": 3}))
    assert "holds no position of the pipeline" in (source.note(2, 40) or "")
    with pytest.raises(DataError, match="is 'refuse'"):
        estimator(tmp_path, unpositioned_input="refuse").train(points().p.feed("x", "y", 4))


def test_evaluations_beside_training_may_be_fed_too(tmp_path: Path):
    made = estimator(tmp_path, save_checkpoints_steps=4)
    train = dovetail.TrainSpec(points().p.feed("x", "y", 5, n_epochs=None), max_steps=8)
    evaluated = dovetail.EvalSpec(lambda: points().p.feed("x", "y", 7), steps=None)
    measured, _ = dovetail.train_and_evaluate(made, train, evaluated)
    assert measured["global_step"] == 8
    assert measured == pytest.approx(made.evaluate(points().p.feed("x", "y", 20)))


def test_worker_processes_may_make_the_batches(tmp_path: Path):
    data = {"image": PICTURES, "label": np.arange(30) % 2}
    pipeline = Dataset(30, ImagesBatch, preloaded=data).p.flip(p=0.5).random_rotate((-9, 9))
    made = []
    for number, how in enumerate([{}, {"prefetch": 2, "target": "processes"}]):
        lazy = pipeline.run(8, shuffle=True, n_epochs=None, lazy=True, **how)
        made.append(estimator(tmp_path / str(number)))
        for last in (3, 6):
            made[-1].train(lambda lazy=lazy: lazy.feed("image", "label"), max_steps=last)
    assert same(*map(parameters, made))


DATA = """
import numpy as np
from dovetail import Dataset


def dataset():
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    return Dataset(20, preloaded={"x": x, "label": (x.sum(1) > 0).astype("int64")})


def train_input_fn(params):
    return dataset().p.feed("x", "label", params["train_input"]["batch_size"], shuffle=True)


def eval_input_fn(params):
    return dataset()
"""
MODEL = """
import torch
import dovetail
from dovetail import layers, metrics, optimizers


def model_fn(features, labels, mode, params):
    x = features["x"] if isinstance(features, dict) else features
    logits = layers.fully_connected(x, 2, activation_fn=None)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    accuracy = metrics.accuracy(labels, logits.argmax(1))
    train_op = optimizers.SGD(0.1).minimize(loss)
    return dovetail.EstimatorSpec(mode, logits, loss, train_op, {"accuracy": accuracy})
"""


def test_the_command_line_takes_them_from_an_input_fn(in_tmp: Path, capsys: Any):
    Path("configs").mkdir()
    Path("configs/params.yaml").write_text("train_input: {batch_size: 6}\n")
    Path("model.py").write_text(MODEL)
    Path("data.py").write_text(DATA)
    words = ["run", "--params", "configs/params.yaml", "--model_dir", "made", "--device", "cpu"]
    assert main([*words, "--mode", "train"]) == 0
    assert main([*words, "--mode", "eval"]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert latest("made").name == "0000000004"


def test_changed_actions_and_functions_are_told_from_what_they_were():
    def described(batch_class: type[Batch], function: Any) -> dict[str, Any]:
        dataset = Dataset(20, batch_class, preloaded={"x": X, "y": Y})
        feeding = dataset.p.shifted().call(function).feed("x", "y", batch_size=4)
        return data_of(feeding, feeding.how({}))

    class Changed(Points):
        @action
        def shifted(self):
            return self

    def nothing(batch: Batch) -> None: ...

    def something(batch: Batch) -> None:
        batch.x = batch.x + 1

    first = described(Points, nothing)
    assert first == described(Points, nothing)
    assert first["actions"] != described(Changed, nothing)["actions"]
    assert first["actions"] != described(Points, something)["actions"]
    assert first["steps"] == ["shifted()", "call nothing"]

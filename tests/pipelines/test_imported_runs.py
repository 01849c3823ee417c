"""Models that come into a pipeline from the model_dir of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dovetail
from dovetail import Batch, Dataset, Pipeline, action, model
from dovetail.data.pipeline.named import Component
from dovetail.errors import CheckpointError, ParamsError

X = {"x": "x"}


@pytest.fixture
def run(model_file: Path, flowers: Dataset, tmp_path: Path) -> dovetail.Estimator:
    """A finished run, with params of its own."""
    config = dovetail.RunConfig(device="cpu", progress=False, ema_decay=0.9)
    made = dovetail.Estimator(str(model_file), str(tmp_path / "run"), config, {"width": 5})
    return made.train(flowers.p.feed(X, "y", 16, n_epochs=None), max_steps=30)


def test_a_pipeline_predicts_what_the_run_does(run: Any, model_file: Path, flowers: Dataset):
    template = (
        Pipeline()
        .import_model("flowers", run.model_dir, definition=model_file)
        .predict_model("flowers", X, save_to={"classes": Component("predicted")})
        .evaluate_model("flowers", X, "y")
    )
    pipeline = template << flowers
    predicted = np.concatenate([batch.predicted for batch in pipeline.gen_batch(16, prefetch=2)])
    expected = [row["classes"] for row in run.predict(flowers.p.feed(X))]
    np.testing.assert_array_equal(predicted, expected)
    assert pipeline.metrics("flowers") == pytest.approx(run.evaluate(flowers.p.feed(X, "y")))


def test_each_pipeline_has_a_program_of_its_own(run: Any, model_file: Path, flowers: Dataset):
    template = Pipeline().import_model("net", run.model_dir, definition=model_file)
    one, other = template << flowers, template << flowers
    assert one.get_model_by_name("net") is one.get_model_by_name("net")
    assert one.get_model_by_name("net") is not other.get_model_by_name("net")
    trained = one.train_model("net", X, "y").run(25)
    assert trained.get_model_by_name("net").global_step == 32


def test_an_action_may_take_it_as_its_model(run: Any, model_file: Path, flowers: Dataset):
    class Own(Batch):
        components = "x", "y"

        @model
        def net(self):
            raise AssertionError("the imported one goes before it")

        @action(model="net")
        def step(self, net: Any):
            assert net.predict_step({"x": self.x})["predictions"]["classes"].shape == (len(self),)
            return self

    dataset = Dataset(flowers.index, Own, preloaded=flowers.source)
    made = dataset.p.import_model("net", run.model_dir, definition=str(model_file)).step().run(16)
    assert made.get_model_by_name("net").global_step == 30
    assert "model    net (imported)" in made.describe()


def test_what_a_folder_holds_is_not_executed(run: Any, flowers: Dataset):
    with pytest.raises(ParamsError, match=r"give the definition too"):
        flowers.p.import_model("net", run.model_dir)


def test_what_is_missing_or_different_is_said(
    run: Any, model_file: Path, flowers: Dataset, tmp_path: Path
):
    imported = flowers.p.import_model("net", tmp_path / "none", definition=model_file)
    with pytest.raises(CheckpointError, match="There is no checkpoint in"):
        imported.evaluate_model("net", X, "y").run(16)
    other = flowers.p.import_model(
        "net", run.model_dir, definition=model_file, params={"width": 6}
    ).evaluate_model("net", X, "y")
    for _ in range(2):  # nor does it go on with weights that nobody trained
        with pytest.raises(CheckpointError, match="of another shape"):
            other.run(16)
    with pytest.raises(ParamsError, match="are for a model_dir"):
        flowers.p.import_model("net", flowers.p, definition=model_file)
    with pytest.raises(ParamsError, match="source is a pipeline or the path"):
        flowers.p.import_model("net", 3)

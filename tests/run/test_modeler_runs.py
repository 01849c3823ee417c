"""Runs of a file with a modeler: which values win, what a run begins with, rates in epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import dovetail
from dovetail.data.record_writer import RecordWriter
from dovetail.definition.modeler_lowering import settable
from dovetail.errors import CheckpointError, DefinitionError, ParamsError
from dovetail.run.resolve import resolve
from dovetail.run.warm_start import WarmStart

FILE = """
import torch
from dovetail import ImageClassificationModelerConfig, ModelerConfig, layers
from dovetail.tasks import image_classification


def net(inputs, num_classes, is_training, data_format):
    hidden = layers.fully_connected(layers.flatten(inputs), 5, scope="hidden")
    logits = layers.fully_connected(hidden, num_classes, None, scope="logits")
    return logits, {"classes": logits.argmax(-1), "probabilities": torch.softmax(logits, -1)}


config = ModelerConfig(
    mode="infer", batch_size_per_gpu=4, gpu_count=2, optimizer="sgd", learning_rate=0.5
)
modeler = image_classification.build(ImageClassificationModelerConfig(config, num_classes=3), net)


def preprocess(features):
    return {"image": features["image"] / 255}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "classes.py"
    path.write_text(FILE)
    return path


@pytest.fixture
def records(tmp_path: Path) -> Path:
    schema = dovetail.Schema(
        [dovetail.Field("image", (2, 2, 1), "uint8"), dovetail.Field("label", (1,), "int64")]
    )
    generator = np.random.default_rng(0)
    with RecordWriter(tmp_path / "records", schema) as writer:
        for number in range(20):
            image = generator.integers(0, 255, (2, 2, 1)).astype(np.uint8)
            writer.append((image, number % 3))
    return tmp_path / "records"


def estimator_of(file: Path, folder: str, params: Any = None, **config: Any) -> dovetail.Estimator:
    settings = {"device": "cpu", "progress": False, **config}
    run = dovetail.RunConfig(str(file.with_name(folder)), **settings)
    return dovetail.Estimator(file, config=run, params=params)


class Rates(dovetail.Hook):
    """Keeps the learning rate of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_step(self, run: Any, output: Any) -> None:
        self.seen.append(run.program.learning_rate)


def test_a_file_is_trained_evaluated_and_predicted_with(file: Path, records: Path, capsys: Any):
    estimator = estimator_of(file, "run")
    assert estimator.definition.way == "modeler"
    estimator.train(records, max_steps=20)
    said = capsys.readouterr().err
    assert said.count("gpu_count=2: this run is on the CPU, with its whole batch.") == 1
    assert set(estimator.evaluate(records)) == {"loss", "accuracy", "global_step"}
    assert len(list(estimator.predict(records))) == 20


def test_the_batch_is_that_of_all_gpus_unless_more_is_said(file: Path):
    definition = dovetail.load(file)
    found = resolve(definition)
    assert (found.batch_size, found.origins["batch_size"]) == (8, "definition")
    assert resolve(definition, params={"gpu_count": 3}).batch_size == 12
    assert resolve(definition, params={"batch_size": 7, "gpu_count": 3}).batch_size == 7
    assert resolve(definition, flags={"batch_size": 5}).batch_size == 5
    found = resolve(definition, params={"batch_size": 7}, settings=["batch_size_per_gpu=6"])
    assert (found.batch_size, found.origins["batch_size"]) == (12, "command line --set")


def test_what_is_for_several_gpus_is_trained_as_one_batch(file: Path, records: Path, capsys: Any):
    def trained(folder: str, each: int, count: int, **config: Any) -> dict[str, Any]:
        params = {"batch_size_per_gpu": each, "gpu_count": count}
        run = estimator_of(file, folder, params, **config).train(records, max_steps=5)
        assert run.get_variable_value("global_step") == 5
        return {name: run.get_variable_value(name) for name in run.get_variable_names()}

    two = trained("two", 4, 2)
    said = capsys.readouterr().err
    assert "gpu_count=2: this run is on the CPU, with its whole batch." in said
    one = trained("one", 8, 1)
    each_its_own = trained("parts", 4, 2, parts=2)  # as two devices compute it
    for name, value in two.items():
        assert np.array_equal(value, one[name]), name
        np.testing.assert_allclose(value, each_its_own[name], rtol=1e-6, atol=1e-6)


def test_rates_in_epochs_are_those_of_the_records(file: Path, records: Path):
    params = {"piecewise_boundaries": [1, 2], "piecewise_learning_rate_decay": [1.0, 0.1, 0.01]}
    hook = Rates()
    estimator_of(file, "run", params).train(records, hooks=[hook], max_steps=7)
    # 20 records in batches of 8: the second epoch begins in the third step.
    assert hook.seen == pytest.approx([0.5] * 3 + [0.05] * 2 + [0.005] * 2)


def test_rates_in_epochs_are_the_same_after_an_interruption(file: Path, records: Path):
    params = {"piecewise_boundaries": [1, 2], "piecewise_learning_rate_decay": [1.0, 0.1, 0.01]}
    whole, parts = estimator_of(file, "whole", params), estimator_of(file, "parts", params)
    whole.train(records, max_steps=6)
    parts.train(records, max_steps=2)
    parts.evaluate(records)
    parts.train(records, max_steps=4)
    estimator_of(file, "parts", params).train(records, max_steps=6)
    for name in whole.get_variable_names():
        equal = whole.get_variable_value(name) == parts.get_variable_value(name)
        assert np.all(equal), name


def test_rates_in_epochs_of_an_iterable_need_the_number_of_examples(file: Path):
    def input_fn() -> Any:
        return [({"image": torch.rand(8, 2, 2, 1)}, torch.arange(8) % 3)] * 4

    params: dict[str, Any] = {
        "piecewise_boundaries": [1],
        "piecewise_learning_rate_decay": [1.0, 0.1],
    }
    with pytest.raises(ParamsError, match=r"num_examples=\.\.\."):
        estimator_of(file, "refused", params).train(input_fn)
    hook = Rates()
    estimator_of(file, "run", params | {"num_examples": 16}).train(input_fn, hooks=[hook])
    assert hook.seen == pytest.approx([0.5, 0.5, 0.05, 0.05])


def test_a_run_begins_with_a_pretrained_model_but_for_what_is_skipped(
    file: Path, records: Path, capsys: Any
):
    old = estimator_of(file, "old").train(records, max_steps=3)
    params = {
        "pretrained_model": old.model_dir,
        "skip_pretrained_vars": ["logits"],
        "trainable_vars": ["logits"],
    }
    new = estimator_of(file, "new", params, seed=1).train(records, max_steps=2)
    said = capsys.readouterr().err
    assert "2 of 4 tensors taken" in said
    for name in ("hidden.weight", "hidden.bias"):
        assert np.array_equal(new.get_variable_value(name), old.get_variable_value(name))
    for name in ("logits.weight", "logits.bias"):
        assert not np.array_equal(new.get_variable_value(name), old.get_variable_value(name))


def test_a_pretrained_model_may_be_a_file_of_tensors(file: Path, records: Path):
    weights = {"hidden.weight": torch.full((5, 4), 0.25), "hidden.bias": torch.zeros(5)}
    path = file.with_name("weights.safetensors")
    safetensors.torch.save_file(weights, path)
    params = {"pretrained_model": str(path), "trainable_vars": ["logits"]}
    estimator = estimator_of(file, "run", params).train(records, max_steps=1)
    assert np.all(estimator.get_variable_value("hidden.weight") == 0.25)


def test_the_run_s_warm_start_is_stronger_than_the_definition_s(file: Path):
    definition = dovetail.load(file)
    config = dovetail.RunConfig(warm_start_from="other")
    assert resolve(definition, config=config).config.warm_start_from == "other"
    found = resolve(definition, config=config, settings=["pretrained_model=mine"])
    assert found.config.warm_start_from == "mine"
    assert found.origins["runconfig.warm_start_from"] == "command line --set"
    params = {"pretrained_model": "mine", "skip_pretrained_vars": ["logits"]}
    started = resolve(definition, params=params).config.warm_start_from
    assert started == WarmStart("mine", skip=("logits",))
    settings = ["pretrained_model=mine", "skip_pretrained_vars=logits, hidden.bias"]
    started = resolve(definition, settings=settings).config.warm_start_from
    assert started == WarmStart("mine", skip=("logits", "hidden.bias"))


def test_a_name_to_skip_that_fits_nothing_is_refused(file: Path, records: Path):
    old = estimator_of(file, "old").train(records, max_steps=1)
    params = {"pretrained_model": old.model_dir, "skip_pretrained_vars": ["logit"]}
    with pytest.raises(CheckpointError, match=r"skip has 'logit'"):
        estimator_of(file, "new", params).train(records, max_steps=2)


def test_settings_are_the_config_s_own(file: Path):
    definition = dovetail.load(file)
    assert set(definition.params) == set(settable(_modeler(file)))
    with pytest.raises(ParamsError, match=r"learning_rte.*Did you mean 'learning_rate'"):
        resolve(definition, settings=["learning_rte=1"])


def _modeler(file: Path) -> Any:
    names: dict[str, Any] = {}
    exec(file.read_text(), names)
    return names["modeler"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("modeler = 3", r"classes.py:\d+: modeler is an int; it must be a dovetail.Modeler"),
        ("def model_fn(features): ...", r"has model_fn and also modeler: that is two definitions"),
        ("params = {'learning_rate': 1.0}", r"params has 'learning_rate', and so has the modeler"),
        ("def input_fn(): ...", r"input_fn"),
    ],
)
def test_a_file_that_is_wrong_is_refused(file: Path, more: str, message: str):
    file.write_text(f"{FILE}\n{more}\n")
    with pytest.raises(DefinitionError, match=message):
        dovetail.load(file)


def test_a_modeler_misspelt_is_seen(file: Path):
    file.write_text(FILE.replace("modeler = image", "modeller = image"))
    with pytest.raises(DefinitionError, match=r"defines no model.*or modeler"):
        dovetail.load(file)

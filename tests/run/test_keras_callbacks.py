"""Keras callbacks of a definition, compared with the same callbacks in Keras' own fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import dovetail
from dovetail.data.record_writer import RecordWriter
from dovetail.errors import DefinitionError, ParamsError
from dovetail.run.estimator import Estimator
from dovetail.run.keras_stand_in import Logs, Model

ROWS, BATCH = 32, 8

FILE = """
import keras
import torch
from torch import nn

import dovetail

called = []


class Watch(keras.callbacks.Callback):
    def set_params(self, params):
        super().set_params(params)
        called.append(("set_params", params["steps"]))


for name in {methods}:
    def method(self, *args, name=name, **kwargs):
        called.append((name, *args, *kwargs.values()))
    setattr(Watch, name, method)


def model():
    return nn.Linear(2, 1)


def loss(output, labels):
    return ((output[:, 0] - labels) ** 2).mean()


def optimizer():
    return dovetail.optimizers.SGD(1e-12)


{callbacks}
"""
TRAINING = (
    *("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end"),
    *("on_epoch_end", "on_train_end"),
)
Called = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def table() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    x = generator.normal(size=(ROWS, 2)).astype(np.float32)
    return {"x": x, "label": x.sum(1, keepdims=True)}


@pytest.fixture(scope="module")
def records(table: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data") / "records"
    schema = dovetail.Schema(
        [dovetail.Field("x", (2,), "float32"), dovetail.Field("label", (1,), "float32")]
    )
    with RecordWriter(folder, schema) as writer:
        for x, label in zip(table["x"], table["label"], strict=True):
            writer.append({"x": x, "label": label})
    return str(folder)


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Make an Estimator of a file whose `callbacks` is as given, and the list of its calls."""

    def made(
        callbacks: str = "def callbacks():\n    return [Watch()]\n",
        methods: tuple[str, ...] = TRAINING,
        name: str = "run",
        batch_size: int = BATCH,
        **config: Any,
    ) -> tuple[Estimator, Called]:
        path = tmp_path / f"{name}.py"
        path.write_text(FILE.replace("{methods}", repr(methods)).replace("{callbacks}", callbacks))
        config = {"device": "cpu", "progress": False, "log_step_count_steps": 1000, **config}
        estimator = Estimator(
            path, tmp_path / name, dovetail.RunConfig(**config), {"batch_size": batch_size}
        )
        assert estimator.definition.callbacks is not None
        return estimator, estimator.definition.callbacks.function.__globals__["called"]

    return made


def in_fit(
    table: dict[str, np.ndarray], estimator: Estimator, epochs: int, batch_size: int = BATCH
) -> Called:
    """The calls that the same callback gets in Keras' own fit of the same parameters."""
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    weight = estimator.get_variable_value("model.weight")
    network.set_weights([weight.T, estimator.get_variable_value("model.bias")])
    network.compile(keras.optimizers.SGD(1e-12), "mse")
    assert estimator.definition.callbacks is not None
    names = estimator.definition.callbacks.function.__globals__
    names["called"].clear()
    fit: Any = network.fit  # its types say that verbose is a str
    fit(
        table["x"],
        table["label"],
        batch_size=batch_size,
        epochs=epochs,
        verbose=0,
        callbacks=[names["Watch"]()],
    )
    return list(names["called"])


def without_values(calls: Called) -> Called:
    return [tuple(sorted(a) if isinstance(a, dict) else a for a in call) for call in calls]


def epoch_losses(calls: Called) -> list[float]:
    return [logs["loss"] for name, *_, logs in calls if name == "on_epoch_end"]


def test_the_calls_and_logs_are_those_of_keras_own_fit(make, records, table):
    estimator, called = make()
    estimator.train(records, max_steps=3 * ROWS // BATCH)
    here = list(called)
    there = in_fit(table, estimator, epochs=3)
    assert without_values(here) == without_values(there)
    assert len(here) == 1 + 1 + 3 * (1 + 4 + 4 + 1) + 1
    np.testing.assert_allclose(epoch_losses(here), epoch_losses(there), rtol=1e-5)
    last = [logs["loss"] for name, *_, logs in here if name == "on_train_batch_end"][-1]
    assert last == epoch_losses(here)[-1] == here[-1][1]["loss"]


def test_where_batches_cross_epochs_each_belongs_to_the_epoch_of_its_first_example(make, records):
    estimator, called = make(batch_size=12)  # 32 examples: batches begin at 0, 12, 24, 36, 48, 60
    estimator.train(records, max_steps=6)
    begun = [call[:2] for call in called if call[0] in ("on_epoch_begin", "on_train_batch_begin")]
    batch = "on_train_batch_begin"
    assert begun == [
        ("on_epoch_begin", 0),
        *((batch, 0), (batch, 1), (batch, 2)),
        ("on_epoch_begin", 1),
        *((batch, 0), (batch, 1), (batch, 2)),
    ]
    ended = [call[1] for call in called if call[0] == "on_epoch_end"]
    assert ended == [0, 1]  # the sixth batch goes past example 64


def test_a_resumed_run_goes_on_within_the_epoch(make, records):
    estimator, called = make()
    estimator.train(records, max_steps=6)
    assert called[-2][0] == "on_train_batch_end"  # the epoch was cut short: no on_epoch_end
    called.clear()
    estimator.train(records, max_steps=8)
    assert [call[:-1] for call in called] == [
        ("set_params",),
        ("on_train_begin",),
        ("on_epoch_begin", 1),
        *(("on_train_batch_begin", 2), ("on_train_batch_end", 2)),
        *(("on_train_batch_begin", 3), ("on_train_batch_end", 3)),
        ("on_epoch_end", 1),
        ("on_train_end",),
    ]


STOPPING = """
class Stop(keras.callbacks.Callback):
    def {method}(self, number, logs=None):
        self.model.stop_training = number == 1


def callbacks():
    return [Watch(), Stop()]
"""


@pytest.mark.parametrize(("method", "steps"), [("on_train_batch_end", 2), ("on_epoch_end", 8)])
def test_stop_training_ends_the_run_at_that_step_as_it_ends_fit(make, records, method, steps):
    estimator, called = make(STOPPING.replace("{method}", method))
    why = estimator.train_run(records, max_steps=20)
    assert (why.step, why.why) == (steps, f"Stop.{method} set model.stop_training")
    assert [call[0] for call in called][-2:] == ["on_epoch_end", "on_train_end"]


def test_a_run_is_bit_for_bit_what_it_is_without_them(make, records):
    with_them, _ = make(name="with")
    without, _ = make("def callbacks():\n    return []\n", name="without")
    for estimator in (with_them, without):
        estimator.train(records, max_steps=5)
    for name in ("model.weight", "model.bias"):
        value, other = with_them.get_variable_value(name), without.get_variable_value(name)
        assert np.array_equal(value, other)


def test_the_loss_is_fetched_only_for_methods_that_are_given_it(make, records, monkeypatch):
    fetched = []
    before = torch.Tensor.__float__
    monkeypatch.setattr(
        torch.Tensor, "__float__", lambda self: fetched.append("keras") or before(self)
    )

    def count(methods: tuple[str, ...], name: str) -> int:
        estimator, _ = make(methods=methods, name=name, finite_checks="off")
        fetched.clear()
        estimator.train(records, max_steps=8)
        return len(fetched)

    least = count(("on_train_begin", "on_epoch_begin", "on_train_batch_begin"), "a")
    assert count(("on_epoch_end",), "b") - least == 2
    assert count(("on_train_batch_end",), "c") - least == 8


def test_evaluations_beside_training_come_as_tests(make, records):
    estimator, called = make(methods=("on_test_begin", "on_test_end"), save_checkpoints_steps=2)
    spec = dovetail.TrainSpec(records, max_steps=4)
    metrics, _ = dovetail.train_and_evaluate(estimator, spec, dovetail.EvalSpec(records))
    assert [call[0] for call in called[1:]] == ["on_test_begin", "on_test_end"] * 2
    assert called[-1][1] == {"loss": metrics["loss"]}


def test_what_is_never_called_is_said(make, records, capsys):
    estimator, _ = make(methods=("on_predict_end", "on_epoch_end"))
    estimator.train(lambda: [(torch.ones(2, 2), torch.ones(2))] * 2)
    told = capsys.readouterr().err
    assert "Watch: on_predict_end is not called, since callbacks are of trainings." in told
    assert "Watch: on_epoch_end is not called: how many examples an epoch has is known" in told


def test_an_epochs_length_is_not_that_of_an_input_before(make, records):
    estimator, called = make()
    estimator.train(records, max_steps=1)
    called.clear()
    estimator.train(lambda: [(torch.ones(8, 2), torch.ones(8))] * 9)
    assert not [call for call in called if "epoch" in call[0]]


def test_lambda_callbacks_lists_of_them_and_hooks_beside_them_work(make, records):
    text = (
        "def callbacks():\n"
        "    first, second = (\n"
        "        keras.callbacks.LambdaCallback(\n"
        "            on_train_batch_end=lambda i, logs, name=name: called.append((name, i)),\n"
        "            on_train_end=lambda logs, name=name: called.append((name, sorted(logs))),\n"
        "        )\n"
        "        for name in 'ab'\n"
        "    )\n"
        "    return [keras.callbacks.CallbackList([first]), dovetail.hooks.StopAtStep(2), second]\n"
    )
    estimator, called = make(text)
    estimator.train(records, max_steps=3)
    expected = [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", []), ("b", [])]
    assert called == expected


def test_an_error_in_one_names_it_and_the_step(make, records):
    text = (
        "class Fails(keras.callbacks.Callback):\n"
        "    def on_train_batch_end(self, batch, logs=None):\n"
        "        logs['accuracy'] > batch\n"
        "def callbacks():\n"
        "    return [Fails()]\n"
    )
    with pytest.raises(KeyError) as raised:
        make(text)[0].train(records, max_steps=3)
    notes = " ".join(raised.value.__notes__)
    assert "Fails.on_train_batch_end, of callbacks (" in notes
    assert "step 1" in notes


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("ModelCheckpoint('x.keras')", r"RunConfig\(save_checkpoints_steps="),
        ("BackupAndRestore('x')", "goes on from its newest checkpoint by itself"),
        ("TensorBoard('x')", "writes an event log to its model_dir"),
        ("LearningRateScheduler(lambda epoch: 0.1)", "dovetail.optimizers.schedules"),
        ("ReduceLROnPlateau()", "dovetail.optimizers.schedules"),
        ("CSVLogger('x.csv')", r"dovetail.hooks.CsvLog\(\)"),
        ("TerminateOnNaN()", "where the loss is not finite"),
        ("History()", "event log in model_dir"),
        ("ProgbarLogger()", "shows its progress"),
        ("SwapEMAWeights()", "ema_decay"),
        (
            "EarlyStopping('val_accuracy', patience=2, min_delta=0.01, mode='max')",
            r'dovetail.EarlyStopping\("accuracy", patience=2, min_delta=0.01, mode="higher"\)',
        ),
        ("EarlyStopping()", r'EarlyStopping\("loss", patience=1, min_delta=0, mode="lower"\)'),
    ],
)
def test_what_cannot_do_its_work_is_refused_with_what_does(make, records, made, said):
    text = f"def callbacks():\n    return [keras.callbacks.{made}]\n"
    with pytest.raises(DefinitionError, match=said) as raised:
        make(text)[0].train(records, max_steps=1)
    name = made.partition("(")[0]
    assert f"gave keras.callbacks.{name}: it works on a Keras model in its fit" in str(raised.value)
    assert "run.py:" in str(raised.value)


def test_a_subclass_of_what_cannot_work_is_refused_too(make, records):
    text = (
        "class Mine(keras.callbacks.EarlyStopping): ...\n"
        "def callbacks():\n"
        "    return [Mine('loss', patience=4)]\n"
    )
    with pytest.raises(DefinitionError, match=r"Mine, which is a kind of keras.*patience=4"):
        make(text)[0].train(records, max_steps=1)


def test_among_the_hooks_of_a_training_they_are_refused_with_where_they_belong(make, records):
    with pytest.raises(ParamsError, match="belong to the definition: return them from its"):
        make()[0].train(records, hooks=[keras.callbacks.LambdaCallback()], max_steps=1)


def test_the_class_instead_of_an_object_is_refused(make, records):
    with pytest.raises(DefinitionError, match=r"gave the class Watch.*Watch\(\)"):
        make("def callbacks():\n    return [Watch]\n")[0].train(records, max_steps=1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("self.model.optimizer.learning_rate = 0.1", r"self\.model\.optimizer.*schedules"),
        ("self.model.save('x.keras')", "save_checkpoints_steps"),
        ("self.model.get_weights()", r"run\.program\.state\(\)"),
        ("self.model.evaluate(None)", "train_and_evaluate"),
        ("self.model.mine = 1", r"self\.model\.mine.*a dovetail\.Hook sees"),
    ],
)
def test_the_stand_in_for_the_model_says_what_to_use(make, records, line, said):
    text = (
        "class Watch(keras.callbacks.Callback):\n"
        "    def on_train_begin(self, logs=None):\n"
        f"        {line}\n"
        "def callbacks():\n"
        "    return [Watch()]\n"
    )
    with pytest.raises(DefinitionError, match=said) as raised:
        make(text)[0].train(records, max_steps=1)
    assert re.match(r"Watch\.on_train_begin \(.*run\.py:\d+\): self\.model", str(raised.value))


def test_the_stand_in_stops_once_and_has_nothing_else():
    stopped = []
    model = Model(lambda: stopped.append(1))
    assert not model.stop_training
    model.stop_training = False
    assert not stopped
    model.stop_training = True
    model.stop_training = True
    assert stopped == [1]
    assert not hasattr(model, "optimizer")


def test_who_looks_for_an_evaluation_in_an_epochs_logs_is_told_where_it_is():
    told: list[str] = []
    logs = Logs({"loss": 0.5}, told.append)
    assert (logs.get("loss"), logs.get("val_loss"), logs.get("val_loss", 1.0)) == (0.5, None, 1.0)
    assert len(told) == 2
    assert "on_test_end" in told[0]
    with pytest.raises(KeyError, match="on_test_end"):
        logs["val_accuracy"]

"""Prediction: in the order of the input, with or without labels, of the checkpoint asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import CheckpointError, DataError, DefinitionError
from dovetail.run import checkpoint, predict
from dovetail.run.estimator import Estimator
from dovetail.run.hooks import Hook


def echo_model_fn(features, labels, mode, params):
    """Predict the first feature, so that each prediction tells which example it is of."""
    x = features["x"]
    predictions = {"first": x[:, 0], "twice": x[:, :1] * 2, "level": torch.tensor(0.5)}
    if mode == dovetail.ModeKeys.PREDICT:
        assert labels is None
        if params.get("rows_only"):
            del predictions["level"]
        return dovetail.EstimatorSpec(mode, predictions)
    y = layers.fully_connected(x, 1, activation_fn=None)
    loss = torch.mean(y**2)
    return dovetail.EstimatorSpec(mode, predictions, loss, optimizers.SGD(0.1).minimize(loss))


@pytest.fixture
def echo(make: Callable[..., Estimator], records: Path) -> Estimator:
    return make("echo", echo_model_fn, {"rows_only": True}).train(records, max_steps=1)


def test_predictions_come_one_by_one_in_the_order_of_the_input(
    echo: Estimator, records: Path, table: dict[str, np.ndarray]
):
    rows = list(echo.predict(records))
    assert [row["first"] for row in rows] == table["x"][:, 0].tolist()
    assert rows[0].keys() == {"first", "twice"}
    assert rows[3]["twice"].shape == (1,)
    assert isinstance(rows[3]["twice"], np.ndarray)


@pytest.mark.parametrize("kind", ["records", "pairs", "features", "tuples", "loader"])
def test_labels_are_left_out_and_can_be_absent(
    kind: str, echo: Estimator, records: Path, table: dict[str, np.ndarray]
):
    x, labels = table["x"], table["label"]
    input_fns: dict[str, Any] = {
        "records": lambda: records,
        "pairs": lambda: [({"x": x}, labels)],
        "features": lambda: [{"x": x[:20]}, {"x": x[20:]}],
        "tuples": lambda: [({"x": x}, None)],
        "loader": lambda: torch.utils.data.DataLoader([{"x": row} for row in x], batch_size=10),
    }
    found = [float(row["first"]) for row in echo.predict(input_fns[kind])]
    assert found == x[:, 0].tolist()


def test_whole_batches_are_given_when_asked_for(echo: Estimator, records: Path):
    sizes = [len(b["first"]) for b in echo.predict(records, yield_single_examples=False)]
    assert sizes == [8, 8, 8, 8, 5]
    assert len(list(echo.predict(records, yield_single_examples=False, steps=2))) == 2


def test_predict_keys_choose(echo: Estimator, records: Path):
    assert next(echo.predict(records, predict_keys="twice")).keys() == {"twice"}
    assert list(next(echo.predict(records, predict_keys=["twice", "first"]))) == ["twice", "first"]
    with pytest.raises(DefinitionError, match="no 'frist'. Did you mean 'first'.*first, twice"):
        next(echo.predict(records, predict_keys="frist"))


def test_predictions_that_are_not_one_row_per_example_say_what_to_do(
    make: Callable[..., Estimator], records: Path
):
    estimator = make("all", echo_model_fn).train(records, max_steps=1)
    with pytest.raises(DefinitionError, match="'level': None.*yield_single_examples=False"):
        next(estimator.predict(records))
    assert next(estimator.predict(records, predict_keys=["first"])).keys() == {"first"}
    batch = next(estimator.predict(records, yield_single_examples=False))
    assert batch["level"].shape == ()


def test_predictions_are_those_of_the_checkpoint_asked_for(
    make: Callable[..., Estimator], records: Path
):
    def probabilities(estimator: Estimator, **kwargs: Any) -> np.ndarray:
        return np.stack([r["probabilities"] for r in estimator.predict(records, **kwargs)])

    estimator = make(save_checkpoints_steps=2).train(records, max_steps=2)
    second = probabilities(estimator)
    estimator.train(records, max_steps=6)
    path = checkpoint.listed(estimator.model_dir)[1]
    assert path.name == "0000000002"
    assert np.array_equal(probabilities(estimator, checkpoint_path=path), second)
    assert np.array_equal(probabilities(make(), checkpoint_path=str(path)), second)
    newest = probabilities(estimator)
    assert not np.array_equal(newest, second)
    assert np.array_equal(probabilities(make()), newest)


def test_predictions_are_those_of_the_definition_called_by_hand(
    make: Callable[..., Estimator],
    model_fn: Callable[..., Any],
    records: Path,
    table: dict[str, np.ndarray],
):
    estimator = make().train(records, max_steps=4)
    program = dovetail.build(model_fn, example=({"x": table["x"]}, table["label"][:, 0]))
    state = program.state()
    for name in estimator.get_variable_names():
        if name != "global_step":
            state[name].copy_(torch.from_numpy(np.array(estimator.get_variable_value(name))))
    expected = program.predict_step({"x": table["x"][:8]})["predictions"]["probabilities"]
    (batch,) = estimator.predict(records, yield_single_examples=False, steps=1)
    assert np.array_equal(batch["probabilities"], expected.numpy())


def test_without_a_checkpoint_there_is_nothing_to_predict_with(
    make: Callable[..., Estimator], records: Path
):
    with pytest.raises(CheckpointError, match="There is no checkpoint in"):
        next(make().predict(records))


def test_an_empty_input_is_an_error(echo: Estimator):
    with pytest.raises(DataError, match="gave no batch, so there is nothing to predict"):
        list(echo.predict(lambda: []))


def test_a_prediction_left_midway_leaves_no_trace(
    make: Callable[..., Estimator], records: Path, assert_same_state: Callable[..., None]
):
    import threading

    one = make("one").train(records, max_steps=3)
    before = threading.active_count()
    left = one.predict(records)
    next(left)
    left.close()
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(left)
    one.train(records, max_steps=6)
    other = make("other").train(records, max_steps=6)
    assert_same_state(one, other)


def test_training_between_two_predictions_changes_neither(
    make: Callable[..., Estimator], records: Path, assert_same_state: Callable[..., None]
):
    expected = [r["probabilities"] for r in make("a").train(records, max_steps=3).predict(records)]
    estimator = make("b").train(records, max_steps=3)
    under_way = estimator.predict(records)
    found = [next(under_way)["probabilities"] for _ in range(10)]
    estimator.train(records, max_steps=6)
    estimator.evaluate(records)
    found += [row["probabilities"] for row in under_way]
    assert np.array_equal(found, expected)
    assert_same_state(estimator, make("c").train(records, max_steps=6))
    assert estimator.evaluate(records)["global_step"] == 6


def test_hooks_see_each_batch_and_may_stop(echo: Estimator, records: Path):
    told: list[Any] = []

    class Diary(Hook):
        def begin(self, run):
            told.append(("begin", run.step, str(run.model_dir)))

        def after_step(self, run, output):
            told.append(("after", len(output["predictions"]["first"])))
            if len(told) == 3:
                run.request_stop()

        def end(self, run):
            told.append("end")

    assert len(list(echo.predict(records, hooks=[Diary()]))) == 16
    assert told == [("begin", 1, echo.model_dir), ("after", 8), ("after", 8), "end"]


def test_random_numbers_of_the_caller_go_on_between_batches(echo: Estimator, records: Path):
    torch.manual_seed(3)
    expected = [torch.rand(1).item() for _ in range(3)]
    torch.manual_seed(3)
    generator = echo.predict(records, yield_single_examples=False)
    found = []
    for _ in range(3):
        next(generator)
        found.append(torch.rand(1).item())
    assert found == expected


def test_an_error_in_a_batch_names_it(echo: Estimator, table: dict[str, np.ndarray]):
    def input_fn():
        return [{"x": table["x"][:8]}, {"y": table["x"][:8]}]

    with pytest.raises(KeyError) as caught:
        list(echo.predict(input_fn))
    assert "prediction, on the batch of examples 8 to 15 of input_fn" in caught.value.__notes__[0]
    assert len(list(echo.predict(lambda: input_fn()[:1]))) == 8


def test_bfloat16_becomes_float32():
    array = predict.as_array(torch.tensor([1.5], dtype=torch.bfloat16, requires_grad=True))
    assert array.dtype == np.float32
    assert array.tolist() == [1.5]

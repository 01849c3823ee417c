"""A loss that is not finite stops the run, says where, and keeps the last good checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import NanLossError
from dovetail.run import checkpoint
from dovetail.run.estimator import Estimator
from dovetail.run.loss_watch import LossWatch


def regression_model_fn(features, labels, mode, params):
    y = layers.fully_connected(features["x"], 1, activation_fn=None)
    loss = torch.mean((y - labels) ** 2)
    train_op = optimizers.SGD(params.learning_rate).minimize(loss)
    return dovetail.EstimatorSpec(mode, y, loss, train_op)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_batch_is_named_and_the_last_good_checkpoint_kept(
    bad: float, make: Callable[..., Estimator], table: dict[str, np.ndarray]
):
    x = table["x"][:32].copy()
    x[19, 0] = bad

    def input_fn():
        return [({"x": x[i : i + 8]}, x[i : i + 8, 1:2]) for i in range(0, 32, 8)]

    estimator = make("run", regression_model_fn, {"learning_rate": 0.01}, save_checkpoints_steps=1)
    with pytest.raises(NanLossError) as caught:
        estimator.train(input_fn)
    said = str(caught.value)
    assert caught.value.step == 3
    assert f"The loss is {bad} at step 3, on the batch of examples 16 to 23 of input_fn" in said
    assert f"The last good checkpoint is {estimator.latest_checkpoint()}." in said
    assert [int(path.name) for path in checkpoint.listed(estimator.model_dir)] == [0, 1, 2]
    again = make("run", regression_model_fn, {"learning_rate": 0.01})
    good = input_fn()[:2]
    assert np.isfinite(again.evaluate(lambda: good)["loss"])
    assert again.train(lambda: good).get_variable_value("global_step") == 4


def test_rows_of_records_are_named(make: Callable[..., Estimator], records: Path):
    def model_fn(features, labels, mode, params):
        x = features["x"]
        y = layers.fully_connected(x, 1, activation_fn=None)
        loss = torch.mean(y**2) / (dovetail.get_global_step() != 2)
        return dovetail.EstimatorSpec(mode, y, loss, optimizers.SGD(0.1).minimize(loss))

    with pytest.raises(NanLossError, match=r"at step 3, on the batch of rows (\d+, ){7}\d+ of /"):
        make("run", model_fn).train(records)


def test_parameters_that_blow_up_are_never_saved(make: Callable[..., Estimator], records: Path):
    def model_fn(features, labels, mode, params):
        y = layers.fully_connected(features["x"], 1, activation_fn=None)
        loss = torch.mean(y**2)
        return dovetail.EstimatorSpec(mode, y, loss, optimizers.SGD(1e30).minimize(loss))

    estimator = make("run", model_fn, save_checkpoints_steps=1)
    with pytest.raises(NanLossError):
        estimator.train(records)
    for path in checkpoint.listed(estimator.model_dir):
        for tensor in checkpoint.load(path).model.values():
            assert torch.isfinite(tensor).all()


def test_losses_of_an_accelerator_are_looked_at_together_and_the_first_bad_one_named():
    def take(watch: LossWatch, step: int, value: float) -> None:
        watch.expect(step, 8 * (step - 1), 8)
        watch.before_update(torch.tensor(value))
        watch.after_update(torch.tensor(value))

    def describe(start: int, count: int) -> str:
        return f"examples {start} to {start + count - 1}"

    watch = LossWatch(torch.device("meta"), describe, every=4)
    for step, value in enumerate([1.0, 2.0, float("nan")], start=1):
        take(watch, step, value)
    with pytest.raises(NanLossError, match="at step 3, on the batch of examples 16 to 23") as error:
        take(watch, 4, float("inf"))
    assert error.value.step == 3

    watch = LossWatch(torch.device("meta"), describe, every=4)
    for step in range(1, 9):
        take(watch, step, 0.0)
    take(watch, 9, float("inf"))
    with pytest.raises(NanLossError, match="inf at step 9"):
        watch.check()


def test_a_watch_that_is_off_looks_at_nothing():
    watch = LossWatch(torch.device("cpu"), lambda start, count: "", on=False)
    watch.before_update(torch.tensor(float("nan")))
    watch.after_update(torch.tensor(float("nan")))
    watch.check()


def test_a_step_whose_loss_is_not_finite_never_reaches_the_parameters(
    make: Callable[..., Estimator], table: dict[str, np.ndarray]
):
    from dovetail.run.hooks import Hook

    x = table["x"][:16].copy()
    x[9] = np.nan
    seen = []

    class Look(Hook):
        def before_step(self, run):
            seen.append([p.detach().clone() for p in run.program.network.parameters()])

        def on_error(self, run, error):
            assert isinstance(error, NanLossError)
            seen.append([p.detach().clone() for p in run.program.network.parameters()])

    with pytest.raises(NanLossError, match="before the parameters were changed"):
        make("run", regression_model_fn, {"learning_rate": 0.01}).train(
            lambda: [({"x": x[i : i + 8]}, x[i : i + 8, 1:2]) for i in (0, 8)], hooks=[Look()]
        )
    assert len(seen) == 3
    assert all(map(torch.equal, seen[1], seen[2]))
    assert not all(map(torch.equal, seen[0], seen[1]))

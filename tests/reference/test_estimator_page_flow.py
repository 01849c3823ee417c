"""The Estimator page's code around its network: each block that is more than a fragment."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dovetail
from dovetail import EstimatorSpec, layers, metrics, optimizers
from dovetail.definition.source import execute
from dovetail.errors import CheckpointError, ParamsError
from dovetail.run import summaries

MODEL = Path(__file__).parents[2] / "examples" / "estimator" / "model.py"
load_estimator = execute(MODEL).load_estimator
X = torch.linspace(-1, 1, 24).reshape(-1, 1)
Y = 3 * X + X**2
QUIET = dovetail.RunConfig(device="cpu", progress=False, save_summary_steps=1)


def model_fn(features, labels, mode, params):
    # 1. Define model structure
    output = layers.fully_connected(features["x"], 1, activation_fn=None)

    # 2. Generate predictions
    predictions = {"output_str": output}  # the page makes them in PREDICT only, and returns them
    if mode == dovetail.ModeKeys.PREDICT:
        assert labels is None
        return dovetail.EstimatorSpec(mode=mode, predictions=predictions)

    # 3. Define the loss functions
    loss = torch.mean((output - labels) ** 2)

    # 3.1 Additional metrics for monitoring
    eval_metric_ops = {"rmse": metrics.root_mean_squared_error(labels.to(torch.float64), output)}

    # 4. Define optimizer
    optimizer = optimizers.Adam(learning_rate=params["learning_rate"])
    train_op = optimizer.minimize(loss=loss, global_step=dovetail.get_global_step())

    # 5. Return training/evaluation EstimatorSpec
    return EstimatorSpec(mode, predictions, loss, train_op, eval_metric_ops)


def unequal_batches():
    return [({"x": x}, y) for x, y in zip(X.split([11, 8, 5]), Y.split([11, 8, 5]), strict=True)]


def loaded(model_dir: Path | None, **values: Any) -> dovetail.Estimator:
    params = {"learning_rate": 0.1}
    return load_estimator(
        **{"model_fn": model_fn, "model_dir": model_dir, "config": QUIET, "params": params} | values
    )


def parameters(estimator: dovetail.Estimator) -> dict[str, np.ndarray]:
    names = ("fully_connected.weight", "fully_connected.bias")
    return {name: estimator.get_variable_value(name) for name in names}


def test_load_estimator_has_the_page_s_arguments_in_their_order():
    parameters = inspect.signature(load_estimator).parameters
    assert list(parameters) == ["model_fn", "model_dir", "config", "params"]
    assert all(parameter.default is None for parameter in parameters.values())


def test_model_fn_trains_evaluates_and_predicts(tmp_path: Path):
    estimator = loaded(tmp_path).train(unequal_batches, max_steps=3)
    measured = estimator.evaluate(unequal_batches)
    weight, bias = parameters(estimator).values()
    output = X.numpy() * weight + bias
    by_hand = np.sqrt(np.mean((output.astype(np.float64) - Y.numpy()) ** 2))
    assert measured["rmse"] == pytest.approx(by_hand, rel=1e-6)  # over rows, not over batches
    assert measured["loss"] == pytest.approx(by_hand**2, rel=1e-6)
    predicted = [row["output_str"] for row in estimator.predict(unequal_batches)]
    np.testing.assert_allclose(predicted, output, rtol=1e-6)


def test_its_metrics_are_shown_while_it_trains(tmp_path: Path):
    loaded(tmp_path).train(unequal_batches, max_steps=3)
    scalars = summaries.read_scalars(tmp_path)
    assert [step for step, _ in scalars["rmse"]] == [1, 2, 3]
    for (_, rmse), (_, loss) in zip(scalars["rmse"], scalars["loss"], strict=True):
        assert rmse == pytest.approx(loss**0.5, rel=1e-5)


def test_an_evaluation_takes_no_step_with_the_optimizer(tmp_path: Path):
    config = QUIET.replace(unpositioned_input="fast_forward")
    evaluated, other = (loaded(tmp_path / name, config=config) for name in ("one", "other"))
    evaluated.train(unequal_batches, max_steps=2)
    assert evaluated.evaluate(unequal_batches)["global_step"] == 2
    evaluated.train(unequal_batches, max_steps=3)
    expected = parameters(other.train(unequal_batches, max_steps=3))
    for name, value in parameters(evaluated).items():
        assert np.array_equal(value, expected[name])


def test_predictions_made_in_predict_mode_alone_fail_at_the_page_s_last_line(tmp_path: Path):
    def as_printed(features, labels, mode, params):
        output = layers.fully_connected(features["x"], 1, activation_fn=None)
        if mode == dovetail.ModeKeys.PREDICT:
            predictions = {"output_str": output}
            return dovetail.EstimatorSpec(mode=mode, predictions=predictions)
        loss = torch.mean((output - labels) ** 2)
        train_op = optimizers.Adam(learning_rate=params["learning_rate"]).minimize(loss=loss)
        return EstimatorSpec(mode, predictions, loss, train_op, {})

    with pytest.raises(UnboundLocalError, match="predictions"):
        loaded(tmp_path, model_fn=as_printed).train(unequal_batches, max_steps=1)


def test_an_estimator_uses_the_latest_checkpoint_of_model_dir(tmp_path: Path):
    trained = loaded(tmp_path).train(unequal_batches, max_steps=2)
    again = loaded(tmp_path)
    assert again.latest_checkpoint() == trained.latest_checkpoint()
    assert again.evaluate(unequal_batches) == trained.evaluate(unequal_batches)
    assert again.train(unequal_batches, steps=1).evaluate(unequal_batches)["global_step"] == 3


def test_model_dir_none_is_a_new_model():
    with pytest.warns(UserWarning, match="temporary"):
        estimator = loaded(None)
    assert estimator.latest_checkpoint() is None
    with pytest.raises(CheckpointError, match="no checkpoint"):
        estimator.evaluate(unequal_batches)
    shutil.rmtree(estimator.model_dir)


def test_a_cell_that_is_run_again_makes_the_same_names_and_weights(tmp_path: Path):
    # The tip's reset_default_graph() has nothing to reset: layers belong to their program.
    cells = [loaded(tmp_path / str(number)) for number in range(2)]
    names = []
    for estimator in cells:
        estimator.train(unequal_batches, max_steps=1)
        names.append(estimator.get_variable_names())
    assert names[0] == names[1]
    assert "fully_connected.weight" in names[1]
    first, second = map(parameters, cells)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    cells[1].train(unequal_batches, steps=1)
    assert all(np.array_equal(first[name], value) for name, value in parameters(cells[0]).items())


def test_params_grow_by_add_hparam_and_are_read_both_ways(tmp_path: Path):
    params = execute(MODEL).params
    assert params.num_layers == params["num_layers"] == len(params.layers) == 11
    assert params.layers[0]["type"] == "conv"
    with pytest.raises(ParamsError, match="exists already"):
        params.add_hparam("num_layers", 3)
    assert load_estimator(model_fn, tmp_path, None, params).params.learning_rate == 0.001


def test_config_is_the_page_s():
    config = dovetail.RunConfig(
        tf_random_seed=0,
        save_checkpoints_steps=250,
        save_checkpoints_secs=None,
        save_summary_steps=10,
    )
    assert (config.seed, config.save_checkpoints_steps, config.save_summary_steps) == (0, 250, 10)
    assert config.save_checkpoints_secs is None
    with pytest.raises(ParamsError, match="give one of them"):
        dovetail.RunConfig(save_checkpoints_steps=250, save_checkpoints_secs=600)


SCRIPT = """
import time, datetime

ts = time.time()
timestamp = datetime.datetime.fromtimestamp(ts).strftime('%Y-%m-%d_%H-%M-%S')

model_dir = '../results/' + timestamp

from model import load_estimator, model_fn, params

estimator = load_estimator(model_fn=model_fn, model_dir=model_dir, params=params)

import os, shutil

# Find the path of the current running file (train script)
curr_path = os.path.realpath(__file__)

# Define the path of your factored out model.py file
{model_file} = '{path}'

# Now copy the training script and the model file to
#   model_dir -- the same directory specified when creating the Estimator
# Note: copy over more files if there are other important dependencies.
shutil.copy(curr_path, model_dir)
shutil.copy(model_path, model_dir)
"""


def run_script(folder: Path, monkeypatch: pytest.MonkeyPatch, model_file: str) -> dict[str, Any]:
    """Run the page's train_model.py in `code/` beside its model.py."""
    code = folder / "code"
    code.mkdir()
    shutil.copy(MODEL, code)
    script = code / "train_model.py"
    script.write_text(SCRIPT.format(path=code / "model.py", model_file=model_file))
    monkeypatch.chdir(code)
    monkeypatch.syspath_prepend(str(code))
    monkeypatch.delitem(sys.modules, "model", raising=False)
    names: dict[str, Any] = {"__file__": str(script)}
    try:
        exec(compile(script.read_text(), str(script), "exec"), names)
    finally:
        sys.modules.pop("model", None)
    return names


def test_the_training_script_names_model_dir_by_the_time_and_copies_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    names = run_script(tmp_path, monkeypatch, "model_path")
    (model_dir,) = (tmp_path / "results").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", model_dir.name)
    assert Path(names["estimator"].model_dir).resolve() == model_dir.resolve()
    for name in ("model.py", "train_model.py"):
        assert (model_dir / name).read_bytes() == (tmp_path / "code" / name).read_bytes()


def test_the_page_copies_a_path_that_it_never_defines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(NameError, match="model_path"):
        run_script(tmp_path, monkeypatch, "model_file")

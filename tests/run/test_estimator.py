"""The Estimator: a thin face whose only truth is model_dir."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import CheckpointError, DefinitionError, DovetailError, ParamsError
from dovetail.run import checkpoint, provenance
from dovetail.run.config import RunConfig
from dovetail.run.estimator import Estimator

QUIET = RunConfig(device="cpu", progress=False)


def test_train_gives_the_estimator_itself(make: Callable[..., Estimator], records: Path):
    estimator = make()
    assert estimator.train(records, max_steps=1) is estimator


def test_model_dir_is_made_at_once_and_foreign_files_are_left_alone(
    make: Callable[..., Estimator], records: Path, tmp_path: Path
):
    estimator = make("a/b")
    assert Path(estimator.model_dir).is_dir()
    foreign = Path(estimator.model_dir) / "model.py"
    foreign.write_text("mine")
    estimator.train(records, max_steps=1)
    assert foreign.read_text() == "mine"
    kept = {"checkpoints", "provenance", "model.py", "run.lock", "heartbeat.json"}
    names = {path.name for path in Path(estimator.model_dir).iterdir()}
    assert kept <= names
    assert all(name in kept or name.startswith("events.out") for name in names)


def test_without_a_model_dir_a_temporary_one_is_made_and_named(model_fn: Callable[..., Any]):
    with pytest.warns(UserWarning, match="kept in a temporary one: ") as caught:
        estimator = Estimator(model_fn, config=QUIET)
    assert estimator.model_dir in str(caught[0].message)
    assert caught[0].filename == __file__
    assert Path(estimator.model_dir).is_dir()
    assert estimator.resolved.origins["runconfig.model_dir"] == "default"
    Path(estimator.model_dir).rmdir()


def test_conflicting_model_dirs_are_refused_and_equal_ones_are_not(
    model_fn: Callable[..., Any], tmp_path: Path
):
    config = RunConfig(str(tmp_path / "a"), device="cpu")
    with pytest.raises(ValueError, match=r"model_dir is '.*b' and config.model_dir is '.*a'"):
        Estimator(model_fn, tmp_path / "b", config)
    assert not (tmp_path / "a").exists()
    assert Estimator(model_fn, f"{tmp_path}/a/", config).model_dir == f"{tmp_path}/a/"
    assert Estimator(model_fn, config=config).model_dir == str(tmp_path / "a")


def test_a_model_dir_of_params_gives_way_to_the_call(model_fn: Callable[..., Any], tmp_path: Path):
    definition = dovetail.load(
        model_fn, params={"runconfig": {"model_dir": str(tmp_path / "params")}}
    )
    assert Estimator(definition).model_dir == str(tmp_path / "params")
    estimator = Estimator(definition, tmp_path / "call")
    assert estimator.model_dir == str(tmp_path / "call")
    assert estimator.resolved.origins["runconfig.model_dir"] == "Python call"


def test_properties_are_those_of_the_reference_and_params_is_a_copy(
    model_fn: Callable[..., Any], tmp_path: Path
):
    given = {"width": 3}
    estimator = Estimator(model_fn, tmp_path / "run", QUIET, given)
    given["width"] = 4
    estimator.params.width = 5
    assert estimator.params.width == 3
    assert estimator.config.model_dir == estimator.model_dir == str(tmp_path / "run")
    assert estimator.config.progress is False


def test_a_signature_that_can_not_work_is_refused_at_construction(tmp_path: Path):
    def model_fn(feature, labels, mode):
        return None

    with pytest.raises(ValueError, match=r"model_fn.*'feature'.*mean 'features'"):
        Estimator(model_fn, tmp_path / "run")
    with pytest.raises(DefinitionError, match="this is an int"):
        Estimator(3, tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_refused_at_construction(
    model_fn: Callable[..., Any], tmp_path: Path
):
    with pytest.raises(DefinitionError, match="device='warp' can't be used here"):
        Estimator(model_fn, tmp_path / "run", RunConfig(device="warp"))


def test_a_model_dir_that_can_not_be_made_says_why(model_fn: Callable[..., Any], tmp_path: Path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(DovetailError, match=r"model_dir .*file.* can't be made: .* another"):
            Estimator(model_fn, path, QUIET)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 1, "max_steps": 1}, r"steps=1 \(how many more\) and max_steps=1"),
        ({"steps": 0}, "steps must be a whole number above 0; it is 0"),
        ({"max_steps": -3}, "max_steps must be a whole number above 0; it is -3"),
        ({"steps": 1.5}, "steps must be a whole number above 0; it is 1.5"),
        ({"max_steps": True}, "max_steps must be a whole number"),
    ],
)
def test_steps_that_make_no_sense_are_refused(
    given: dict[str, Any], message: str, make: Callable[..., Estimator], records: Path
):
    with pytest.raises(ValueError, match=message):
        make().train(records, **given)


def test_variables_of_the_newest_checkpoint_can_be_read(
    make: Callable[..., Estimator], records: Path
):
    estimator = make()
    assert estimator.latest_checkpoint() is None
    for ask in (estimator.get_variable_names, lambda: estimator.get_variable_value("x")):
        with pytest.raises(CheckpointError, match="There is no checkpoint in .*Train first"):
            ask()
    estimator.train(records, max_steps=2)
    newest = estimator.latest_checkpoint()
    assert isinstance(newest, str)
    assert newest == f"{estimator.model_dir}/checkpoints/0000000002"
    assert estimator.get_variable_names()[:3] == [
        "global_step",
        "fully_connected.weight",
        "fully_connected.bias",
    ]
    assert estimator.get_variable_value("global_step") == 2
    assert estimator.get_variable_value("fully_connected.weight").shape == (6, 5)
    assert isinstance(estimator.get_variable_value("batch_norm.running_mean"), np.ndarray)
    with pytest.raises(CheckpointError, match="'fully_conected.bias'.*'fully_connected.bias'"):
        estimator.get_variable_value("fully_conected.bias")


def test_a_new_estimator_goes_on_from_model_dir(make: Callable[..., Estimator], records: Path):
    make().train(records, max_steps=2)
    again = make()
    assert again.get_variable_value("global_step") == 2
    assert again.train_run(records, max_steps=5).steps == 3


def test_a_change_of_model_dir_by_others_is_seen(make: Callable[..., Estimator], records: Path):
    one, other = make(), make()
    one.train(records, max_steps=2)
    other.train(records, max_steps=4)
    assert one.evaluate(records) == other.evaluate(records)
    assert one.train_run(records, max_steps=6).steps == 2


def test_every_run_leaves_a_record_and_none_is_overwritten(
    make: Callable[..., Estimator], records: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.argv", ["train.py", "--fast"])
    make(params={"width": 2}).train(records, max_steps=2)
    make(params={"width": 2}).train(records, max_steps=2)  # nothing to do: no record
    first = Path(make().model_dir) / "provenance" / "0001" / "run.json"
    before = first.read_bytes()
    make(params={"width": 3}, seed=4).train(records, steps=1)
    assert first.read_bytes() == before
    one, two = provenance.read(make().model_dir)
    assert (one["number"], two["number"]) == (1, 2)
    assert one["command"] == ["train.py", "--fast"]
    assert (one["params"]["width"], two["params"]["width"]) == (2, 3)
    assert (one["seed"], two["seed"]) == (0, 4)
    assert (one["extra"]["from_step"], two["extra"]["from_step"]) == (0, 2)
    assert one["extra"]["data"] == f"records {records}"
    assert one["extra"]["values"]["max_steps"] == 2
    assert two["extra"]["values"]["steps"] == 1
    assert one["extra"]["values"]["batch_size"] == 8
    assert one["extra"]["values"]["runconfig.device"] == "cpu"
    assert one["origins"]["params.width"] == "Python call"
    assert two["origins"]["steps"] == "call of train"
    assert one["origins"]["runconfig.parts"] == "default"
    assert any(file["path"] == conftest_of(make) for file in one["files"])
    json.dumps(one)


def conftest_of(make: Callable[..., Estimator]) -> str:
    return str(Path(__file__).parent / "conftest.py")


def test_two_estimators_share_nothing(tmp_path: Path, records: Path):
    model = tmp_path / "model.py"
    model.write_text(
        "import torch\nfrom dovetail import optimizers\n"
        "net = torch.nn.Linear(5, 3)\ncalls = []\n"
        "def model_fn(features, labels, mode, params):\n"
        "    import dovetail\n"
        "    y = dovetail.layers.layer(net, name='net')(features['x'])\n"
        "    calls.append(1)\n"
        "    loss = torch.nn.functional.cross_entropy(y, labels)\n"
        "    train_op = optimizers.Adam(0.1).minimize(loss)\n"
        "    return dovetail.EstimatorSpec(mode, y, loss, train_op)\n"
    )

    def made(name: str) -> Estimator:
        return Estimator(model, tmp_path / name, QUIET, {"batch_size": 8})

    one, other = made("one"), made("other")
    one.train(records, max_steps=2)
    other.train(records, max_steps=2)
    one.train(records, max_steps=4)
    other.train(records, max_steps=4)
    for name in ("net.weight", "net.bias"):
        assert np.array_equal(one.get_variable_value(name), other.get_variable_value(name))
    assert one.evaluate(records) == other.evaluate(records)


def test_initial_weights_are_those_of_the_seed(make: Callable[..., Estimator], records: Path):
    def first_weights(name: str, seed: int) -> np.ndarray:
        torch.manual_seed(len(name))
        estimator = make(name, seed=seed, save_checkpoints_steps=100)
        estimator.train(records, max_steps=1)
        (zero, *_) = checkpoint.listed(estimator.model_dir)
        return checkpoint.load(zero).model["fully_connected.weight"].numpy()

    assert np.array_equal(first_weights("a", 1), first_weights("bb", 1))
    assert not np.array_equal(first_weights("ccc", 2), first_weights("bb", 1))


def test_config_reaches_model_fn_and_input_fn(tmp_path: Path):
    seen: list[Any] = []

    def model_fn(features, labels, mode, params, config):
        seen.append((mode, config.seed, params.width))
        y = layers.fully_connected(features, 1, activation_fn=None)
        loss = torch.mean(y**2)
        return dovetail.EstimatorSpec(mode, y, loss, optimizers.SGD(0.1).minimize(loss))

    def input_fn(mode, params):
        seen.append((mode, params.width))
        return [np.ones((2, 3), np.float32)]

    config = QUIET.replace(seed=7)
    Estimator(model_fn, tmp_path / "run", config, {"width": 2}).train(input_fn).evaluate(input_fn)
    assert seen[0] == ("train", 2)
    assert set(seen) == {("train", 2), ("train", 7, 2), ("eval", 2), ("eval", 7, 2)}


def test_several_parts_are_one_batch_without_batch_norm(
    make: Callable[..., Estimator], records: Path
):
    def model_fn(features, labels, mode, params):
        y = layers.fully_connected(features["x"].double(), 3, activation_fn=None)
        loss = torch.nn.functional.cross_entropy(y, labels)
        return dovetail.EstimatorSpec(mode, y, loss, optimizers.SGD(0.1).minimize(loss))

    def weights(parts: int) -> np.ndarray:
        estimator = make(f"parts{parts}", model_fn, parts=parts).train(records)
        return estimator.get_variable_value("fully_connected.weight")

    assert np.allclose(weights(1), weights(3), rtol=1e-12, atol=0)


def test_bfloat16_trains_with_float32_parameters(make: Callable[..., Estimator], records: Path):
    estimator = make(precision="bf16").train(records, max_steps=3)
    assert estimator.get_variable_value("fully_connected.weight").dtype == np.float32
    plain = make("plain").train(records, max_steps=3)
    found, expected = estimator.evaluate(records), plain.evaluate(records)
    assert found["loss"] == pytest.approx(expected["loss"], rel=0.1)


def test_deterministic_algorithms_are_asked_for_while_training_only(
    make: Callable[..., Estimator], records: Path
):
    from dovetail.run.hooks import Hook

    seen = []

    class Look(Hook):
        def after_step(self, run, output):
            seen.append(torch.are_deterministic_algorithms_enabled())

    make(deterministic=True).train(records, hooks=[Look()], max_steps=1)
    make("other").train(records, hooks=[Look()], max_steps=1)
    assert seen == [True, False]
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_evaluated(
    make: Callable[..., Estimator], records: Path
):
    estimator = make(save_checkpoints_steps=2).train(records, max_steps=4)
    newest = Path(estimator.latest_checkpoint() or "")
    (newest / "state.json").write_text("{}")
    with pytest.warns(UserWarning, match="0000000004 is passed over.*state.json is damaged"):
        assert make().evaluate(records)["global_step"] == 2
    with pytest.raises(CheckpointError, match="state.json is damaged"):
        make().evaluate(records, checkpoint_path=newest)


def test_params_that_are_wrong_are_refused_at_construction(
    model_fn: Callable[..., Any], tmp_path: Path
):
    with pytest.raises(ParamsError, match="params must be HParams or a dict; it is a str"):
        Estimator(model_fn, tmp_path / "run", QUIET, "width=3")  # type: ignore[arg-type]
    with pytest.raises(ParamsError, match="config must be a RunConfig; it is a dict"):
        Estimator(model_fn, tmp_path / "run", {"seed": 1})  # type: ignore[arg-type]


def test_nothing_warns_and_nothing_is_printed_to_stdout(
    make: Callable[..., Estimator], records: Path, capsys: pytest.CaptureFixture[str]
):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator = make().train(records, max_steps=2)
        estimator.evaluate(records)
        list(estimator.predict(records))
    assert capsys.readouterr().out == ""


def test_a_warm_start_may_be_an_argument_or_the_config_s_and_not_two(
    model_fn: Callable[..., Any], make: Callable[..., Estimator], records: Path, tmp_path: Path
):
    source = make("source").train(records, max_steps=2)
    config = RunConfig(device="cpu", progress=False)
    estimator = Estimator(
        model_fn,
        tmp_path / "warm",
        config,
        {"batch_size": 8},
        warm_start_from=Path(source.model_dir),
    )
    assert estimator.config.warm_start_from == source.model_dir
    estimator.train(records, max_steps=1)
    first = checkpoint.load(checkpoint.listed(estimator.model_dir)[0])
    taken = checkpoint.load(source.latest_checkpoint() or "")
    assert first.step == 0
    for name, value in taken.model.items():
        assert torch.equal(first.model[name], value), name
    config = config.replace(warm_start_from="there")
    assert Estimator(model_fn, tmp_path / "a", config, warm_start_from="there").config == (
        config.replace(model_dir=str(tmp_path / "a"))
    )
    with pytest.raises(ParamsError, match="warm_start_from is 'here' and config.* is 'there'"):
        Estimator(model_fn, tmp_path / "b", config, warm_start_from="here")


def test_the_folder_of_an_evaluation_s_event_log_is_known(
    make: Callable[..., Estimator], records: Path
):
    estimator = make().train(records, max_steps=1)
    for name in (None, "hard"):
        estimator.evaluate(records, name=name)
        assert list(Path(estimator.eval_dir(name)).glob("events.out.*"))

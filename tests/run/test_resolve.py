"""Which value wins, row by row of the contract, and where each came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dovetail.definition.definition import Definition, load
from dovetail.errors import ParamsError
from dovetail.run.config import RunConfig
from dovetail.run.resolve import DEFAULT_BATCH_SIZE, resolve


def model_fn(features, labels, mode, params):
    raise AssertionError("nothing is built when values are resolved")


def a_definition(**params: Any) -> Definition:
    return load(model_fn, params=params)


def params_file(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text)
    return path


def test_batch_size_comes_from_the_strongest_source_that_states_it(tmp_path: Path):
    definition = a_definition(batch_size=2)
    file = params_file(tmp_path, "batch_size: 3")
    found = []
    for given in (
        {},
        {"params_file": file},
        {"params_file": file, "params": {"batch_size": 4}},
        {"params_file": file, "params": {"batch_size": 4}, "settings": ["batch_size=5"]},
        {"params": {"batch_size": 4}, "settings": ["batch_size=5"], "flags": {"batch_size": 6}},
    ):
        resolved = resolve(definition, **given)
        found.append((resolved.batch_size, resolved.origins["batch_size"]))
    assert found == [
        (2, "definition"),
        (3, f"params file {file}"),
        (4, "Python call"),
        (5, "command line --set"),
        (6, "command line --batch-size"),
    ]
    assert resolve(a_definition()).batch_size == DEFAULT_BATCH_SIZE
    assert resolve(a_definition()).origins["batch_size"] == "default"


def test_batch_size_of_train_input_is_preferred_within_one_source_only():
    both = a_definition(batch_size=2, train_input={"batch_size": 3})
    assert resolve(both).batch_size == 3
    stronger = resolve(both, settings=["batch_size=4"])
    assert (stronger.batch_size, stronger.origins["batch_size"]) == (4, "command line --set")


def test_evaluation_has_a_batch_size_of_its_own_or_that_of_training():
    own = a_definition(batch_size=2, eval_input={"batch_size": 5})
    assert resolve(own).eval_batch_size == 5
    assert resolve(own, settings=["batch_size=3"]).eval_batch_size == 5
    assert resolve(a_definition(batch_size=2)).eval_batch_size == 2
    assert resolve(own, flags={"batch_size": 7}).eval_batch_size == 7


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "8"])
def test_a_batch_size_that_is_none_is_refused_with_its_source(wrong: object):
    with pytest.raises(ParamsError, match=r"batch_size must be .*\(Python call\)"):
        resolve(a_definition(), params={"batch_size": wrong})


def test_seed_comes_from_the_strongest_source_that_states_it(tmp_path: Path):
    definition = a_definition(runconfig={"tf_random_seed": 1})
    file = params_file(tmp_path, "runconfig: {seed: 2}")
    config = RunConfig(tf_random_seed=3)
    found = []
    for given in (
        {},
        {"params_file": file},
        {"params_file": file, "config": config},
        {"config": config, "settings": ["runconfig.seed=4"]},
        {"config": config, "settings": ["runconfig.seed=4"], "flags": {"seed": 5}},
    ):
        resolved = resolve(definition, **given)
        found.append((resolved.config.seed, resolved.origins["runconfig.seed"]))
    assert found == [
        (1, "definition"),
        (2, f"params file {file}"),
        (3, "Python call"),
        (4, "command line --set"),
        (5, "command line --seed"),
    ]
    plain = resolve(a_definition())
    assert (plain.config.seed, plain.origins["runconfig.seed"]) == (0, "default")


def test_two_seeds_from_one_source_are_refused():
    with pytest.raises(ParamsError, match="two names of one value"):
        resolve(a_definition(), params={"runconfig": {"seed": 1, "tf_random_seed": 2}})


def test_how_long_comes_from_the_strongest_source_that_states_it(tmp_path: Path):
    definition = a_definition(max_steps=10)
    file = params_file(tmp_path, "train_epochs: 2")
    found = []
    for given in (
        {},
        {"params_file": file},
        {"params_file": file, "params": {"steps": 30}},
        {"params": {"steps": 30}, "settings": ["runconfig.max_steps=40"]},
        {"settings": ["max_steps=40"], "flags": {"epochs": 1.5}},
        {"settings": ["max_steps=40"], "flags": {"max_steps": 50}},
    ):
        resolved = resolve(definition, **given)
        name = "epochs" if resolved.max_steps is None else "max_steps"
        found.append((resolved.max_steps, resolved.epochs, resolved.origins[name]))
    assert found == [
        (10, None, "definition"),
        (None, 2, f"params file {file}"),
        (30, None, "Python call"),
        (40, None, "command line --set"),
        (None, 1.5, "command line --epochs"),
        (50, None, "command line --max-steps"),
    ]
    nothing = resolve(a_definition())
    assert (nothing.max_steps, nothing.epochs) == (None, None)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_steps": 0}, "params.max_steps must be a whole number above 0; it is 0"),
        ({"max_steps": 2.5}, "whole number above 0; it is 2.5"),
        ({"train_epochs": -1}, "params.train_epochs must be a number above 0; it is -1"),
        ({"train_epochs": float("inf")}, "must be a number above 0; it is inf"),
    ],
)
def test_a_length_that_is_none_is_refused(params: dict[str, object], message: str):
    with pytest.raises(ParamsError, match=message):
        resolve(a_definition(), params=params)


def test_max_steps_and_epochs_on_one_command_line_are_refused():
    with pytest.raises(ParamsError, match="not both"):
        resolve(a_definition(), flags={"max_steps": 1, "epochs": 1})


@pytest.mark.parametrize(("name", "values"), [("device", "abcd"), ("model_dir", "abcd")])
def test_device_and_model_dir_come_from_the_strongest_source(
    name: str, values: str, tmp_path: Path
):
    definition = a_definition(runconfig={name: values[0]})
    file = params_file(tmp_path, f"runconfig: {{{name}: {values[1]}}}")
    config = RunConfig(**{name: values[2]})
    found = []
    for given in (
        {},
        {"params_file": file},
        {"params_file": file, "config": config},
        {"params_file": file, "config": config, "flags": {name: values[3]}},
    ):
        resolved = resolve(definition, **given)
        found.append((getattr(resolved.config, name), resolved.origins[f"runconfig.{name}"]))
    flag = f"command line --{name.replace('_', '-')}"
    origins = ["definition", f"params file {file}", "Python call", flag]
    assert found == list(zip(values, origins, strict=True))


def test_how_often_to_save_is_one_value_under_two_names():
    definition = a_definition(runconfig={"save_checkpoints_secs": 60})
    resolved = resolve(definition, params={"runconfig": {"save_checkpoints_steps": 5}})
    assert resolved.config.save_checkpoints_steps == 5
    assert resolved.config.save_checkpoints_secs is None
    assert resolved.origins["runconfig.save_checkpoints_steps"] == "Python call"
    assert resolved.origins["runconfig.save_checkpoints_secs"] == "default"


def test_none_in_a_section_or_flag_is_not_given():
    resolved = resolve(
        a_definition(runconfig={"seed": None}), flags={"seed": None, "max_steps": None}
    )
    assert resolved.origins["runconfig.seed"] == "default"
    assert resolved.max_steps is None


def test_a_wrong_setting_of_the_run_names_its_source_and_key(tmp_path: Path):
    file = params_file(tmp_path, "runconfig: {sede: 2}")
    with pytest.raises(ParamsError, match=r"params.yaml: params.runconfig.sede .* mean 'seed'"):
        resolve(a_definition(), params_file=file)
    with pytest.raises(ParamsError, match="must hold settings of a run by name"):
        resolve(a_definition(), params={"runconfig": 3})


def test_every_value_has_an_origin_and_is_named_alike():
    definition = a_definition(learning_rate=0.1, layers=[{"units": 3}], net={"width": 2})
    resolved = resolve(definition, settings=["net.width=4"], flags={"batch_size": 8})
    values = resolved.values()
    assert values["params.net.width"] == 4
    assert resolved.origins["params.net.width"] == "command line --set"
    assert resolved.origins["params.learning_rate"] == "definition"
    unstated = {"max_steps", "epochs"}  # nobody stated them
    assert set(values) - unstated == set(resolved.origins)


def test_the_definition_that_was_given_stays_as_it_was():
    definition = a_definition(width=1)
    resolved = resolve(definition, params={"width": 2})
    assert (definition.params.width, resolved.definition.params.width) == (1, 2)


@pytest.mark.parametrize("text", ["width", "=3", ""])
def test_a_setting_without_name_or_value_is_refused(text: str):
    with pytest.raises(ParamsError, match="write it as --set name=value"):
        resolve(a_definition(width=1), settings=[text])


def test_wrong_objects_are_refused():
    with pytest.raises(ParamsError, match="params must be HParams or a dict; it is a list"):
        resolve(a_definition(), params=[1])  # type: ignore[arg-type]
    with pytest.raises(ParamsError, match="config must be a RunConfig; it is a dict"):
        resolve(a_definition(), config={"seed": 1})  # type: ignore[arg-type]

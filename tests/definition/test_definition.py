"""A definition: read from whatever holds a model, frozen, with params that are its own."""

import dataclasses

import pytest
import torch

import dovetail
from dovetail import layers, optimizers
from dovetail.definition.definition import Definition, load
from dovetail.errors import DefinitionError, ParamsError


def model_fn(features, labels, mode, params):
    output = layers.fully_connected(features, params.get("width", 1), activation_fn=None)
    loss = output.square().mean()
    op = optimizers.SGD(params.get("rate", 0.1)).minimize(loss)
    return dovetail.EstimatorSpec(mode, output, loss, op)


def write(folder, text):
    path = folder / "model.py"
    path.write_text(text)
    return path


def with_params(folder, text):
    return load(write(folder, f"params = {text}\ndef model_fn(features, params): pass\n"))


# Ways in


def test_a_function_is_a_definition():
    definition = load(model_fn, params={"width": 2})
    assert (definition.name, definition.way) == ("model_fn", "model_fn")
    assert str(definition.path) == __file__
    program = dovetail.build(definition, example=(torch.ones(2, 3), None), device="cpu")
    assert program.state()["fully_connected.weight"].shape == (2, 3)


def test_a_definition_is_frozen_and_passes_through():
    definition = load(model_fn)
    assert load(definition) is definition
    with pytest.raises(dataclasses.FrozenInstanceError):
        definition.name = "other"


def test_loading_with_params_leaves_the_first_definition_alone():
    definition = load(model_fn, params={"width": 2, "nested": {"a": 1}})
    other = load(definition, params={"width": 3, "nested": {"a": 2}})
    assert definition.params.to_dict() == {"width": 2, "nested": {"a": 1}}
    assert other.params.to_dict() == {"width": 3, "nested": {"a": 2}}


def test_a_callable_object_is_a_definition():
    class Model:
        def __call__(self, features, labels, mode, params):
            return model_fn(features, labels, mode, params)

    program = dovetail.build(Model(), device="cpu")
    program.train_step(torch.ones(2, 3))
    assert load(Model()).name == "Model"


@pytest.mark.parametrize("path", [str, lambda path: path], ids=["str", "Path"])
def test_a_path_is_a_definition(tmp_path, path):
    file = write(tmp_path, "def model_fn(features): pass\n")
    definition = load(path(file))
    assert (definition.name, definition.path) == ("model", file)
    assert definition.files == (file.resolve(),)


@pytest.mark.parametrize("source", [3, None, Definition, ["model.py"], torch.ones(1)])
def test_anything_else_is_refused(source):
    with pytest.raises(DefinitionError, match=r"a model_fn, a Modeler, or a Definition; this is "):
        load(source)


# The signature of model_fn


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda labels, mode: 0, "does not take 'features', which it needs"),
        (lambda features, label: 0, "wants an argument 'label'"),
        (lambda features, dropout=0.5: 0, "parameters of its own \\(dropout\\)"),
        (lambda features, labels, /: 0, "takes 'features' by position only"),
    ],
)
def test_a_signature_that_can_not_work_is_refused(function, expected):
    with pytest.raises(DefinitionError, match=expected) as caught:
        load(function)
    assert f"{__file__}:{function.__code__.co_firstlineno}" in str(caught.value)


@pytest.mark.parametrize(
    "function",
    [
        lambda features: 0,
        lambda features, labels, mode, params, config: 0,
        lambda config, features, *, mode: 0,
        lambda features, labels=None, **rest: 0,
    ],
)
def test_any_of_the_arguments_will_do(function):
    call = load(function).fresh(dovetail.HParams())
    assert call(features=1, labels=2, mode=3, params=4, config=5) == 0


# Params


def test_unknown_keys_are_refused_where_params_are_declared(tmp_path):
    definition = with_params(tmp_path, "{'width': 3, 'net': {'depth': 2}}")
    assert definition.with_params({"width": 4}).params.width == 4
    with pytest.raises(ParamsError, match=r"'widht' is not a parameter of model. Did you mean"):
        definition.with_params({"widht": 4})
    with pytest.raises(ParamsError, match=r"'net.dept' is not a parameter of model. Did you mean"):
        definition.with_params({"net": {"dept": 4}})
    for key in ("batch_size", "train_epochs", "max_steps", "runconfig", "train_input"):
        value = {"anything": 1} if key in ("runconfig", "train_input") else 1
        assert definition.with_params({key: value}).params[key] == value


def test_wrong_types_are_refused(tmp_path):
    definition = with_params(tmp_path, "{'width': 3, 'net': {'depth': 2}}")
    with pytest.raises(ParamsError, match="width"):
        definition.with_params({"width": "wide"})
    with pytest.raises(ParamsError, match="depth"):
        definition.with_params({"net": {"depth": "deep"}})
    with pytest.raises(ParamsError, match="net"):
        definition.with_params({"net": 3})


def test_a_function_takes_any_params():
    assert load(model_fn, params={"whatever": {"deep": 1}}).params.whatever.deep == 1


def set_texts(definition, **texts):
    params = definition.params.copy()
    for key, text in texts.items():
        definition.set_text(params, key.replace("__", "."), text)
    return params.to_dict()


def test_text_of_the_command_line_keeps_the_type(tmp_path):
    definition = with_params(tmp_path, "{'width': 3, 'name': 'a', 'net': {'depth': 2}}")
    assert set_texts(definition, width="4", name="5", net__depth="6") == {
        "width": 4,
        "name": "5",
        "net": {"depth": 6},
    }
    with pytest.raises(ParamsError, match="width"):
        set_texts(definition, width="wide")
    with pytest.raises(ParamsError, match="widht"):
        set_texts(definition, widht="4")
    with pytest.raises(ParamsError, match="dept"):
        set_texts(definition, net__dept="4")


def test_text_for_a_new_value_is_read_as_yaml(tmp_path):
    new = set_texts(load(model_fn), rate="0.5", deep__list="[1, 2]", flag="true", name="text")
    assert new == {"rate": 0.5, "deep": {"list": [1, 2]}, "flag": True, "name": "text"}
    declared = with_params(tmp_path, "{'width': 3}")
    assert set_texts(declared, runconfig__seed="3")["runconfig"] == {"seed": 3}

"""Hyperparameters: page 3's block, strict names and types, and text there and back."""

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dovetail.definition.hparams import HParams
from dovetail.errors import ParamsError


def alexnet():
    """Page 3's `params` block, shortened."""
    relu, l2 = torch.nn.functional.relu, torch.relu
    params = HParams(
        layers=[
            {
                "type": "conv",
                "num_outputs": 96,
                "kernel_size": 11,
                "stride": 4,
                "activation": relu,
                "regularizer": l2,
            },
            {"type": "pool", "kernel_size": 3, "stride": 2},
            {"type": "fc", "num_outputs": 50, "activation": None},
        ],
        learning_rate=0.001,
        train_epochs=30,
        batch_size=32,
    )
    params.add_hparam("num_layers", len(params.layers))
    return params


def test_page_3s_block_is_read_by_attribute_and_by_item():
    params = alexnet()
    assert params.num_layers == 3
    assert params["learning_rate"] == params.learning_rate == 0.001
    assert type(params.layers[0]) is dict
    assert params.layers[0]["activation"] is torch.nn.functional.relu
    assert params.layers[2]["activation"] is None


def test_page_3s_block_is_read_inside_a_compiled_function():
    params = alexnet()

    def forward(x):
        for number in range(params.num_layers):
            layer = params.layers[number]
            if layer["type"] == "conv":
                x = layer["activation"](x) * params["learning_rate"]
        return x * params.get("scale", 2.0) if "batch_size" in params else x

    compiled = torch.compile(forward, fullgraph=True, backend="eager")
    x = torch.tensor([-1.0, 3.0])
    assert torch.equal(compiled(x), forward(x))
    params.learning_rate = 0.5
    assert torch.equal(compiled(x), forward(x))


def test_it_is_a_mapping_and_equal_to_the_dict_of_its_values():
    params = HParams(a=1, b={"c": [1, 2]})
    assert isinstance(params, Mapping)
    assert list(params) == list(params.keys()) == ["a", "b"]
    assert params == HParams(a=1, b={"c": [1, 2]}) == {"a": 1, "b": {"c": [1, 2]}}
    assert params != HParams(a=1, b={"c": [1, 3]})
    assert dict(**params) == params
    assert list(params.values()) == [1, params.b]


def test_a_name_that_is_a_method_is_read_as_an_item():
    params = HParams(values=[1, 2], copy=3, self=4)
    assert params["values"] == [1, 2]
    assert list(params.values()) == [[1, 2], 3, 4]
    assert params.self == 4


def test_nested_dicts_become_sections_and_dicts_in_lists_stay():
    params = HParams(optimizer={"lr": 0.1, "more": {"a": 1}}, layers=[{"a": 1}], names={0: "cat"})
    assert params.optimizer.more.a == 1
    assert type(params.layers[0]) is dict
    assert type(params.names) is dict


def test_unknown_names_are_errors_with_the_nearest_one():
    params = alexnet()
    cases = [
        lambda: params.learning_rat,
        lambda: params["learning_rat"],
        lambda: params.set_hparam("learning_rat", 1),
        lambda: setattr(params, "learning_rat", 1),
        lambda: params.parse("learning_rat=1"),
        lambda: params.override_from_dict({"learning_rat": 1}),
    ]
    for case in cases:
        with pytest.raises(ParamsError, match=r"no hyperparameter 'learning_rat'.*'learning_rate'"):
            case()


def test_an_unknown_name_is_also_what_python_expects_it_to_be():
    params = HParams(a=1)
    assert not hasattr(params, "b")
    assert params.get("b") is None
    assert "b" not in params
    with pytest.raises(KeyError):
        params["b"]
    with pytest.raises(AttributeError):
        _ = params.b


def test_a_name_can_not_be_added_twice():
    params = HParams(a=1)
    with pytest.raises(ParamsError, match="'a' exists already, as 1"):
        params.add_hparam("a", 2)
    with pytest.raises(ParamsError, match="must be text, but 1"):
        params.add_hparam(1, 2)


@pytest.mark.parametrize(
    ("existing", "value", "result"),
    [
        (0.5, 1, 1.0),
        (1, 2, 2),
        (True, False, False),
        ("a", "b", "b"),
        (None, [1], [1]),
        (1, None, None),
        ([1, 2], [3], [3]),
        ([1.0], [1, 2], [1.0, 2.0]),
        ((1, 2), [3, 4], (3, 4)),
        ([], ["a", 1], ["a", 1]),
        ([1, "a"], [2.5], [2.5]),
        (torch.relu, torch.tanh, torch.tanh),
        (Path("a"), "b", Path("b")),
    ],
)
def test_a_value_of_the_right_type_is_set(existing, value, result):
    params = HParams(a=existing)
    params.a = value
    assert params.a == result
    assert type(params.a) is type(result)


@pytest.mark.parametrize(
    ("existing", "value", "expected"),
    [
        (1, 2.5, "an int such as 1, but 2.5"),
        (1, True, "an int such as 1, but True"),
        (True, 1, "a bool such as True, but 1"),
        (0.5, "1e-3", "a float such as 0.5, but '1e-3'"),
        ("a", 1, "a str such as 'a', but 1"),
        ([1], 2, "a list, but 2"),
        ([1], ["a"], "an int such as 1, but 'a'"),
        ({"b": 1}, 3, "a section, but 3"),
        (torch.relu, "os:system", "a function such as .*, but 'os:system'"),
    ],
)
def test_a_value_of_another_type_is_refused_and_nothing_changes(existing, value, expected):
    params = HParams(a=existing)
    before = params.copy()
    with pytest.raises(ParamsError, match=f"'a.*': expected {expected}"):
        params.set_hparam("a", value)
    assert params == before


def test_parse_reads_texts_as_the_types_there_are():
    params = HParams(
        learning_rate=1.0,
        width=1,
        layers=[1],
        flag=False,
        name="x",
        names=["a"],
        none=None,
        optimizer={"lr": 0.1},
    )
    params.parse(
        "learning_rate=1e-3, width=3,layers=[1,2],flag=true,name=a=b,"
        "names=[c, 7],none={a: [1, x]},optimizer.lr=0.2"
    )
    assert params == {
        "learning_rate": 0.001,
        "width": 3,
        "layers": [1, 2],
        "flag": True,
        "name": "a=b",
        "names": ["c", "7"],
        "none": {"a": [1, "x"]},
        "optimizer": {"lr": 0.2},
    }
    assert params.parse("name='a,b',width=1e2,learning_rate=null").name == "a,b"
    assert params.width == 100
    assert params.learning_rate is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width", "'width' in 'name=y,width' is no assignment"),
        (
            "width=1.5",
            "'width': expected an int such as 1, but '1.5' arrived. Write a whole number",
        ),
        ("optimizer.lr=x", "expected a float such as 0.1, but 'x' arrived. Write a number."),
        ("flag=maybe", "'flag': expected a bool.*true or false"),
        ("sizes=[1,a]", r"'sizes\[1\]': expected an int"),
        ("sizes=[1", "The value of 'sizes'.*not valid YAML"),
        ("optimizer.l=1", "no hyperparameter 'optimizer.l'. Did you mean 'lr'"),
        ("width.x=1", "'width' is 1, which has no parts"),
        ("sizes.4=1", "a list of 1 items"),
    ],
)
def test_parse_says_what_is_wrong_and_sets_nothing(text, message):
    params = HParams(name="x", width=1, flag=True, sizes=[1], optimizer={"lr": 0.1})
    before = params.copy()
    with pytest.raises(ParamsError, match=message):
        params.parse("name=y," + text)
    assert params == before


def test_override_reaches_into_lists_and_dotted_names():
    params = HParams(layers=[{"width": 1}, {"width": 2}], rates={"enc.*": 0.1})
    params.override("layers.1.width", "5").override("layers.0.width", 4)
    params.override("rates.enc.*", 0.5)
    assert params == {"layers": [{"width": 4}, {"width": 5}], "rates": {"enc.*": 0.5}}
    with pytest.raises(ParamsError, match=r"no hyperparameter 'layers.0.widht'. Did you mean"):
        params.override("layers.0.widht", 1)


def test_override_from_dict_sets_all_or_nothing_and_keeps_sections():
    params = HParams(a=1, optimizer={"lr": 0.1, "name": "sgd"})
    section = params.optimizer
    with pytest.raises(ParamsError, match=r"'optimizer.lr': expected a float"):
        params.override_from_dict({"a": 2, "optimizer": {"name": "adam", "lr": "fast"}})
    assert params == {"a": 1, "optimizer": {"lr": 0.1, "name": "sgd"}}
    params.override_from_dict({"a": 2, "optimizer": {"lr": 1}})
    assert params == {"a": 2, "optimizer": {"lr": 1.0, "name": "sgd"}}
    assert params.optimizer is section


def test_copies_share_no_container():
    params = alexnet()
    for other in (params.copy(), copy.copy(params), copy.deepcopy(params)):
        other.layers[0]["stride"] = 99
        assert params.layers[0]["stride"] == 4
        other.layers[0]["stride"] = 4
        assert other == params
    given = {"sizes": [1]}
    params = HParams(section=given)
    given["sizes"].append(2)
    params.to_dict()["section"]["sizes"].append(3)
    assert params.section.sizes == [1]


def test_it_survives_pickling():
    params = HParams(a=1, b={"c": [1]})
    assert pickle.loads(pickle.dumps(params)) == params
    assert isinstance(pickle.loads(pickle.dumps(params)).b, HParams)


def test_functions_are_saved_by_name_and_stay_text_when_read_alone():
    text = alexnet().to_yaml()
    assert "activation: torch.nn.functional:relu" in text
    assert HParams.from_yaml(text).layers[0]["activation"] == "torch.nn.functional:relu"


@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_functions_come_back_from_the_definitions_own_values(kind):
    params = alexnet()
    saved = getattr(HParams, f"from_{kind}")(getattr(params, f"to_{kind}")())
    assert params.copy().override_from_dict(saved) == params
    saved.layers[0]["regularizer"] = "os:system"
    changed = params.copy().override_from_dict(saved)
    assert changed.layers[0]["activation"] is torch.nn.functional.relu
    assert changed.layers[0]["regularizer"] == "os:system"


def test_objects_are_saved_as_plain_values():
    params = HParams(
        path=Path("a/b"),
        dtype=torch.float32,
        size=(3, 3),
        kind=torch.nn.ReLU,
        number=torch.ones(()),
    )
    assert yaml.safe_load(params.to_yaml()) == {
        "path": "a/b",
        "dtype": "torch.float32",
        "size": [3, 3],
        "kind": "torch.nn.modules.activation:ReLU",
        "number": 1.0,
    }


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(["1e3", "yes", "null", "1_000", "2020-01-01", "0x1f", "1:30", "- a", ".5e1"])
)
names = st.text("abcdefgh_.-0123456789é ", min_size=1)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4)
)


@given(st.dictionaries(names, trees, max_size=5))
def test_any_plain_values_survive_yaml_and_json(values):
    params = HParams(**values)
    for read, text in (
        (HParams.from_yaml, params.to_yaml()),
        (HParams.from_json, params.to_json()),
    ):
        again = read(text)
        assert again == params
        assert repr(again) == repr(params)
    assert params.to_dict() == values


def test_yaml_takes_exponents_without_a_point_as_numbers():
    params = HParams.from_yaml("lr: 1e-3\nbig: 2E6\ntext: '1e-3'\nversion: 1e\nday: 2020-01-01")
    assert params == {"lr": 0.001, "big": 2e6, "text": "1e-3", "version": "1e", "day": "2020-01-01"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "a: 1\nb: [1", "a.yaml, line 2.*not valid YAML"),
        ("a.yaml", "a: 1\na: 2", "a.yaml, line 2.*'a' is given twice"),
        ("a.yml", "s:\n  1: x\n2: y", "a.yml: .*must be text, but 2"),
        ("a.yaml", "- 1", "a.yaml: expected names with values, but a list"),
        ("a.yaml", "a: !!python/object/apply:os.getcwd []", "a.yaml, line 1.*not valid YAML"),
        ("a.json", '{"a": 1,}', "a.json, line 1, column .*not valid JSON"),
        ("a.json", '{"a": 1, "a": 2}', "a.json: the key 'a' is given twice"),
        ("a.toml", "a = 1", "a.toml: a params file ends in .yaml, .yml or .json"),
    ],
)
def test_a_wrong_file_is_named_with_the_place(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ParamsError, match=message):
        HParams.from_file(tmp_path / name)


def test_files_are_read_by_their_ending(tmp_path):
    params = HParams(a=1, b={"c": "é"})
    (tmp_path / "p.yaml").write_text(params.to_yaml(), encoding="utf-8")
    (tmp_path / "p.json").write_text(params.to_json(), encoding="utf-8")
    (tmp_path / "empty.yml").write_text("")
    assert HParams.from_file(tmp_path / "p.yaml") == params
    assert HParams.from_file(str(tmp_path / "p.json")) == params
    assert HParams.from_file(tmp_path / "empty.yml") == {}
    with pytest.raises(ParamsError, match=r"none.yaml: the params file can't be read"):
        HParams.from_file(tmp_path / "none.yaml")


def test_json_refuses_keys_that_it_would_change():
    params = HParams(classes=[{0: "cat"}])
    assert HParams.from_yaml(params.to_yaml()) == params
    with pytest.raises(ParamsError, match=r"'classes\[0\]' has the key 0"):
        params.to_json()

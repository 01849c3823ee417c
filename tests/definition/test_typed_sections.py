"""Sections of params that a class types."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Literal

import pydantic
import pytest

from dovetail.definition.hparam_lines import dotted
from dovetail.definition.typed_sections import fitted, section_class
from dovetail.errors import DefinitionError


@dataclass
class Layer:
    size: int
    kind: Literal["fc", "conv"] = "fc"


@dataclass
class ModelParams:
    width: int
    rate: float = 0.5
    sizes: tuple[int, ...] = (1, 2)
    layers: list[Layer] = field(default_factory=list)
    head: Layer | None = None


class InputParams(pydantic.BaseModel):
    batch_size: int = pydantic.Field(gt=0)
    files: list[str] = []


def problems(values, kind=ModelParams):
    return fitted("model", values, kind, dotted)[1]


def test_defaults_are_filled_in_and_lists_become_tuples_where_the_class_says_so():
    stated = {"width": 3, "rate": 1, "sizes": [4], "layers": [{"size": 5}]}
    values, found = fitted("model", stated, ModelParams, dotted)
    assert found == []
    layers = [{"size": 5, "kind": "fc"}]
    assert values == {"width": 3, "rate": 1.0, "sizes": (4,), "layers": layers, "head": None}
    assert isinstance(values["rate"], float)


def test_a_pydantic_model_types_a_section_too():
    values, found = fitted("eval_input", {"batch_size": 4}, InputParams, dotted)
    assert (values, found) == ({"batch_size": 4, "files": []}, [])
    (problem,) = fitted("eval_input", {"batch_size": 0}, InputParams, dotted)[1]
    assert "'eval_input.batch_size' should be greater than 0, but 0 (int) arrived" in problem


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"width": 3, "raet": 1}, "model.raet: ModelParams has no 'raet'. Did you mean 'rate'?"),
        ({"width": "3"}, "'model.width' should be a valid integer, but '3' (str) arrived"),
        ({"width": True}, "but True (bool) arrived"),
        ({"width": 1.5}, "but 1.5 (float) arrived"),
        ({}, "'model.width' is missing"),
        ({"width": 3, "sizes": [1, "2"]}, "model.sizes.1: 'model.sizes.1' should be"),
        ({"width": 3, "head": {"size": 1, "knd": "fc"}}, "model.head.knd: Layer has no 'knd'."),
        ({"width": 3, "layers": [{"siez": 1, "size": 1}]}, "Did you mean 'size'?"),
        ({"width": 3, "layers": [{"size": 1, "kind": "rnn"}]}, "should be 'fc' or 'conv'"),
    ],
)
def test_what_does_not_fit_is_named_with_its_key_and_the_nearest(values, says):
    found = problems(values)
    assert any(says in problem for problem in found), found


def test_all_problems_are_named_at_once():
    assert len(problems({"widht": 3, "rate": "fast"})) == 3  # width is missing, too


def test_the_class_of_an_input_wins_over_that_of_all_inputs():
    space = SimpleNamespace(InputParams=InputParams, EvalInputParams=Layer, ModelParams=ModelParams)
    assert section_class("train_input", [space]) is InputParams
    assert section_class("eval_input", [SimpleNamespace(), space]) is Layer
    assert section_class("model", [space]) is ModelParams
    assert section_class("optimizer", [space]) is None


def test_a_class_of_that_name_that_has_no_fields_is_refused():
    with pytest.raises(DefinitionError, match="dataclass or a pydantic model"):
        section_class("model", [SimpleNamespace(ModelParams=dict)])

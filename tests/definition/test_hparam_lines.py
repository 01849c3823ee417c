"""The lines of a params file's keys."""

from pathlib import Path

import pytest

from dovetail.definition.hparam_lines import Lines, at, dotted, key_lines

TEXT = """\
# a comment
base: &base
  width: 3

model:
  <<: *base
  layers:
    - kind: fc
      size: 10
    - kind: conv
"""


def test_each_key_and_item_has_its_own_line():
    lines = key_lines(TEXT)
    assert lines["base",] == 2
    assert lines["model", "layers"] == 7
    assert lines["model", "layers", 0, "size"] == 9
    assert lines["model", "layers", 1] == 10


def test_json_has_lines_too():
    assert key_lines('{\n  "model": {\n    "width": 3}}')["model", "width"] == 3


@pytest.mark.parametrize("text", ["", "# nothing\n", "3", "[1, 2]"])
def test_a_text_without_keys_has_lines_without_keys(text):
    assert not any(isinstance(key[0], str) for key in key_lines(text))


def test_an_anchor_that_holds_itself_does_not_run_forever():
    assert key_lines("a: &a\n  b: *a\n") == {("a",): 1, ("a", "b"): 2}


def test_what_is_not_there_is_where_its_section_is(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    lines = Lines(path)
    assert lines.of(("model", "depth", "x")) == f"{path}:5"
    assert lines.of(("nowhere",)) == str(path)
    assert lines.named("model", "there is no 'kind' here") == f"{path}:8"
    assert lines.named("model", "there is nothing") == f"{path}:5"


def test_values_are_found_by_the_same_keys():
    values = {"model": {"layers": [{"size": 10}]}}
    assert at(values, ("model", "layers", 0, "size")) == 10
    assert at(values, ("model", "layers", 3, "size")) is None
    assert dotted(("model", "layers", 0)) == "model.layers.0"

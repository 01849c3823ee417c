"""A schema's YAML: what is written is read, and each mistake is named by line and key."""

import contextlib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.convert import DTYPES
from dovetail.data.schema import Field, Schema
from dovetail.data.schema_file import from_yaml, to_yaml
from dovetail.errors import DataError

FIELDS = st.builds(
    Field,
    st.text(min_size=1),
    st.lists(st.none() | st.integers(1, 2**40), max_size=4),
    st.sampled_from(DTYPES),
)
SCHEMAS = st.lists(FIELDS, min_size=1, unique_by=lambda field: field.name).map(Schema)


@given(schema=SCHEMAS)
def test_any_schema_comes_back_equal(schema):
    text = to_yaml(schema)
    assert from_yaml(text) == schema
    assert yaml.safe_load(text) == schema.to_list()


def test_an_edited_file_is_read():
    text = """
    - {name: image, dtype: uint8, shape: [28, 28]}
    - name: words   # any number of them
      shape: [None]
      dtype: string
    - name: "yes"
      shape:
        - null
        - 3
      dtype: torch.float32
    """
    assert str(from_yaml(text)) == (
        "'image': uint8 [28, 28]; 'words': string [None]; 'yes': float32 [None, 3]"
    )


GOOD = "- name: a\n  shape: [2]\n  dtype: int8\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: expected a list of fields.*got nothing"),
        ("a: 1", "line 1: expected a list of fields.*got keys and values"),
        ("[]", "line 1: a schema needs at least one field"),
        ("- a\n", "line 1: each entry has the keys name, shape and dtype; this is a single value"),
        (GOOD + "- nmae: b\n", "line 4: unknown key 'nmae'.*Did you mean 'name'"),
        (GOOD + "- name: b\n  dtype: int8\n", "line 4: this entry lacks 'shape'"),
        (GOOD + "  dtype: int8\n", "line 4: the key 'dtype' is there again; it was on line 3"),
        (GOOD + GOOD, "line 4: the name 'a' is there again; it was on line 1"),
        (GOOD.replace("name: a", "name: yes"), "line 1: name must be a text.*True"),
        (GOOD.replace("int8", "in8"), "line 3, dtype: Field 'a'.*'in8'.*Did you mean"),
        (GOOD.replace("int8", "2024-99-99"), "line 3, dtype: its value can't be read"),
        (GOOD.replace("int8", "null"), "line 3, dtype: Field 'a'"),
        (GOOD.replace("[2]", "2"), r"line 2, shape: Field 'a': shape must be a list"),
        (GOOD.replace("[2]", "[0]"), r"line 2, shape: Field 'a': each size .* got 0"),
        (GOOD.replace("[2]", "[2"), "line 3: this is not YAML"),
        (GOOD.replace("[2]", "!!python/name:os.system x"), "line 2: this is not YAML as a schema"),
        (GOOD + "---\n" + GOOD, "line 4: this is not YAML"),
        (GOOD + "\0", r"line 4: '\\x00' may not stand in YAML"),
        ("- &a [*a]", "line 1: each entry"),
    ],
)
def test_a_mistake_is_named_by_line_and_key(text, expected):
    with pytest.raises(DataError, match=f"^s.yaml, {expected}"):
        from_yaml(text, "s.yaml")


def test_lists_nested_without_end_are_refused():
    with pytest.raises(DataError, match="nested too deep"):
        from_yaml("[" * 100_000)


@given(text=st.text())
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(DataError):
        from_yaml(text)

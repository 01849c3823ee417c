"""Which columns become which fields."""

import pytest

from dovetail.data.readers.table_options import TableOptions
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

THERE = ["id", "p0", "p1", "kind", ""]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"columns": ["kind", "id"]}, {"kind": ("kind",), "id": ("id",)}),
        ({"columns": ["id"], "label": "kind"}, {"id": ("id",), "label": ("kind",)}),
        (
            {"columns": ["id"], "join": {"p": "p*"}},
            {"id": ("id",), "p": ("p0", "p1")},
        ),
        (
            {"columns": ["p", "id"], "join": {"p": ["p1", "p0"]}},
            {"id": ("id",), "p": ("p1", "p0")},
        ),
        (
            {"schema": Schema([Field("label", (), "int64"), Field("id", (), "int64")])}
            | {"label": "kind"},
            {"label": ("kind",), "id": ("id",)},
        ),
    ],
)
def test_columns_are_chosen_renamed_and_joined(options, expected):
    assert TableOptions(**options).layout(THERE, "a.csv") == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "column 4 has no name"),
        ({"columns": ["ide"]}, "no column 'ide', which columns names. Did you mean 'id'"),
        ({"label": "knid"}, "no column 'knid', which label names. Did you mean 'kind'"),
        ({"categories": ["x"]}, "no column 'x', which categories names"),
        ({"join": {"p": ["p0", "p3"]}}, "no column 'p3', which join's 'p' names"),
        ({"join": {"id": "p*"}}, "there is a column 'id'; give join's field another name"),
        ({"columns": ["id"], "label": "kind", "join": {"label": "p*"}}, "two columns become"),
        (
            {"schema": Schema([Field("id", (), "int64")]), "label": "kind"},
            "becomes the field 'label', which the schema (id) lacks",
        ),
    ],
)
def test_a_column_that_is_not_there_is_refused_with_the_nearest(options, expected):
    with pytest.raises(DataError) as caught:
        TableOptions(**options).layout(THERE, "a.csv")
    assert expected in str(caught.value)


def test_a_fill_goes_to_columns_of_its_kind_or_to_those_that_it_names():
    assert TableOptions(fill=0).fill_for("id", numeric=True) == 0
    assert TableOptions(fill=0).fill_for("kind", numeric=False) is None
    assert TableOptions(fill="?").fill_for("kind", numeric=False) == "?"
    assert TableOptions(fill={"kind": "?"}).fill_for("kind", numeric=False) == "?"
    assert TableOptions(fill={"kind": "?"}).fill_for("id", numeric=True) is None

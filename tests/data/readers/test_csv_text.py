"""What text stands for, batch after batch."""

import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.readers.csv_text import TextKind, first_unparsed, parsed

COLUMNS = {
    "int64": ["1", "-5", None],
    "float64": ["1", "2.5", "+3", "1e3", "nan", "-inf"],
    "bool": ["true", "False", None, "TRUE"],
    "string": ["1", "true"],
}


@pytest.mark.parametrize("dtype", COLUMNS)
def test_a_columns_kind_does_not_depend_on_how_it_is_cut(dtype):
    for order in itertools.islice(itertools.permutations(COLUMNS[dtype]), 24):
        kind = TextKind()
        for cell in order:
            kind.add(pa.array([cell], pa.string()))
        assert kind.dtype == dtype


def test_long_whole_numbers_do_not_become_floats():
    for cells in (["9007199254740993", "0.5"], ["0.5", "9007199254740993"]):
        whole, apart = TextKind(), TextKind()
        whole.add(pa.array(cells))
        for cell in cells:
            apart.add(pa.array([cell]))
        assert (whole.dtype, apart.dtype) == ("string", "string")
    assert TextKind().dtype is None


def test_the_first_cell_that_stands_for_nothing_is_found():
    cells = [str(n) for n in range(100)]
    for at in (0, 1, 50, 99):
        text = pa.array([*cells[:at], "x", *cells[at + 1 : 99], "y"])
        assert parsed(text, "int64") is None
        assert first_unparsed(text, "int64") == at


CELLS = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.from_regex(r"[+-]?[0-9]{1,20}(\.[0-9]*)?(e[+-]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(["true", "FALSE", "0x1f", "-0", "+.5", ".", "1_0", "inf", "NaN", "x"]),
    st.text(max_size=3).map(str.strip),
)


@given(cells=st.lists(CELLS), cut=st.integers(1, 4))
def test_any_cells_stand_for_the_same_however_they_are_cut(cells, cut):
    whole, pieces = TextKind(), TextKind()
    text = pa.array(cells, pa.string())
    whole.add(text)
    for start in range(0, len(cells), cut):
        pieces.add(text.slice(start, cut))
    assert (whole.dtype, whole.has_empty) == (pieces.dtype, pieces.has_empty)
    if whole.dtype not in ("string", None):
        values = parsed(text, whole.dtype)
        assert values is not None
        for cell, value in zip(cells, values.to_pylist(), strict=True):
            told = {"int64": int, "float64": float, "bool": lambda cell: cell.lower() == "true"}
            expected = None if cell is None else told[whole.dtype](cell)
            assert value == expected or (value != value and expected != expected)

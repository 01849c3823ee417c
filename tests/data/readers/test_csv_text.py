"""What text stands for, batch after batch."""

import itertools

import pyarrow as pa
import pytest

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

"""CSV files: types over all rows, and every loss refused by file, row and column."""

import csv
import gzip
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.prepare import prepare
from dovetail.data.readers.csv import Csv
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError


@pytest.fixture
def write(tmp_path):
    def write(text, name="a.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def read(reader, *files):
    """The schema that these files give, and all rows as plain values."""
    bound = reader.for_files(files)
    rows = [bound.schema.convert(row, name) for name in files for row in bound(name)]
    return str(bound.schema), [
        [getattr(v, "tolist", lambda v=v: v)() for v in r.values()] for r in rows
    ]


def refusal(reader, *files):
    with pytest.raises(DataError) as caught:
        read(reader, *files)
    return str(caught.value)


def test_each_column_is_what_all_its_cells_are(write):
    text = "a,b,c,d,e\n1, 2.5,true,x,9007199254740993\n-2,3,FALSE,2,7\n"
    schema, rows = read(Csv(), write(text))
    assert schema == "'a': int64 []; 'b': float64 []; 'c': bool []; 'd': string []; 'e': int64 []"
    assert rows == [[1, 2.5, True, "x", 9007199254740993], [-2, 3.0, False, "2", 7]]


def test_a_type_holds_over_all_files(write):
    one, two = write("a,b\n1,1\n", "1.csv"), write("b,a\ntrue,2.5\n", "2.csv")
    schema, rows = read(Csv(), one, two)
    assert schema == "'a': float64 []; 'b': string []"
    assert rows == [[1.0, "1"], [2.5, "true"]]


@pytest.mark.parametrize(
    "cells", [["007", "1"], ["0x1F", "2"], ["99999999999999999999"], ["1.5", "12345678901234567"]]
)
def test_numbers_that_would_lose_something_stay_text(write, cells):
    schema, rows = read(Csv(), write("a,b\n" + "".join(f"{cell},1\n" for cell in cells)))
    assert schema.startswith("'a': string")
    assert [row[0] for row in rows] == cells


def test_quoted_cells_may_hold_separators_quotes_and_line_breaks(write):
    rows = [["a,b", 'say "no"', "two\nlines"], ["", " spaced ", "ä"]]
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["x", "y", "z"], *rows])
    assert read(Csv(), write(buffer.getvalue()))[1] == rows


@given(
    table=st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1),
            st.floats(),
            st.booleans(),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
        ),
        min_size=1,
    )
)
def test_what_pythons_writer_writes_comes_back(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["i", "f", "b", "t"], *table])
    schema = Schema.from_list(
        [
            {"name": name, "shape": [], "dtype": dtype}
            for name, dtype in zip("ifbt", ["int64", "float64", "bool", "string"], strict=True)
        ]
    )
    reader = Csv(schema=schema)
    rows = [schema.convert(row, "") for row in reader(str(path))]
    np.testing.assert_array_equal([row["f"] for row in rows], [row[1] for row in table])
    assert [(int(r["i"]), bool(r["b"]), r["t"]) for r in rows] == [
        (i, b, t) for i, _, b, t in table
    ]


def test_other_separators_names_quotes_encodings_and_compression_are_read(write):
    assert read(Csv(), write("a\tb\n1\t2,5\n", "a.tsv"))[1] == [[1, "2,5"]]
    assert read(Csv(delimiter=";"), write("a;b\n1;2\n"))[1] == [[1, 2]]
    assert read(Csv(names=["u", "v"]), write("1,2\n")) == ("'u': int64 []; 'v': int64 []", [[1, 2]])
    assert read(Csv(encoding="latin-1"), write("a,b\nä,1\n".encode("latin-1")))[1] == [["ä", 1]]
    assert read(Csv(), write(gzip.compress(b"a,b\n1,2\n"), "a.csv.gz"))[1] == [[1, 2]]
    assert read(Csv(), write("\ufeffa,b\n1,2\n"))[0] == "'a': int64 []; 'b': int64 []"
    assert read(Csv(quote="'"), write("a,b\n'1,5',2\n"))[1] == [["1,5", 2]]


def test_columns_labels_and_categories_are_chosen(write):
    path = write("id,colour,size,kind\n1,red,2,dog\n2,blue,3,cat\n")
    reader = Csv(columns=["size", "colour"], label="kind", categories=["colour"])
    assert read(reader, path) == (
        "'size': int64 []; 'colour': int64 []; 'label': int64 []",
        [[2, 1, 1], [3, 0, 0]],
    )
    bound = reader.for_files([path])
    assert bound.metadata == {"categories": {"colour": ["blue", "red"]}, "classes": ["cat", "dog"]}
    again = pickle.loads(pickle.dumps(bound))
    assert list(again(path)) == list(bound(path))
    assert again.metadata == bound.metadata


def test_given_classes_keep_their_order_and_refuse_others(write):
    path = write("x,kind\n1,dog\n2,cat\n")
    assert read(Csv(label="kind", classes=["dog", "cat"]), path)[1] == [[1, 0], [2, 1]]
    message = refusal(Csv(label="kind", classes=["dgo", "cat"]), path)
    assert "row 0: column 'kind' holds 'dog', which is none of its 2 values. Did you" in message
    assert "not text" in refusal(Csv(label="x", classes=["1"]), path)


def test_columns_of_numbers_are_joined_and_folded_as_the_schema_says(write):
    path = write("label,p0,p1,p2,p3\n7,0,1,2,255\n")
    reader = Csv(label="label", join={"image": "p*"})
    assert read(reader, path) == ("'label': int64 []; 'image': int64 [4]", [[7, [0, 1, 2, 255]]])
    schema = Schema.from_list(
        [
            {"name": "image", "shape": [2, 2], "dtype": "uint8"},
            {"name": "label", "shape": [1], "dtype": "int64"},
        ]
    )
    folded = Csv(schema=schema, label="label", join={"image": "p*"})
    assert read(folded, path)[1] == [[[[0, 1], [2, 255]], [7]]]
    assert "no column matches" in refusal(Csv(join={"image": "q*"}), path)


def test_the_schema_chooses_columns_and_says_what_they_are(write):
    path = write("zip,size,rest\n1,0.1,x\n007,2,x\n")
    shape = {"shape": []}
    schema = Schema.from_list(
        [{"name": "size", "dtype": "float32", **shape}, {"name": "zip", "dtype": "int64", **shape}]
    )
    assert read(Csv(schema=schema), path)[1] == [[float(np.float32(0.1)), 1], [2.0, 7]]
    text = Schema.from_list([{"name": "size", "dtype": "string", **shape}])
    assert read(Csv(schema=text), path)[1] == [["0.1"], ["2"]]
    wrong = Schema.from_list([{"name": "siez", "dtype": "string", **shape}])
    assert "no column 'siez', which the schema names. Did you mean 'size'" in refusal(
        Csv(schema=wrong), path
    )
    number = Schema.from_list([{"name": "rest", "dtype": "int64", **shape}])
    assert "row 0: column 'rest' holds 'x', which is no int64" in refusal(Csv(schema=number), path)


def test_an_empty_cell_of_numbers_is_refused_by_row_or_filled(write):
    one, two = write("a,b\n1,x\n", "1.csv"), write("a,b\n2,\nNA,z\n", "2.csv")
    message = refusal(Csv(), one, two)
    assert message.startswith(f"{two}, row 1: column 'a' is empty there")
    assert "fill=" in message
    assert read(Csv(fill=0), one, two)[1] == [[1, "x"], [2, ""], [0, "z"]]
    assert read(Csv(fill={"a": -0.5, "b": "?"}), one, two)[1] == [[1, "x"], [2, "?"], [-0.5, "z"]]
    assert read(Csv(columns=["b"]), one, two)[1] == [["x"], [""], ["z"]]
    assert "no column 'c', which fill names" in refusal(Csv(fill={"c": 1}), one)


def test_files_of_other_columns_are_refused_with_the_difference(write):
    one, two = write("a,b\n1,2\n", "1.csv"), write("a,bb\n1,2\n", "2.csv")
    message = refusal(Csv(), one, two)
    assert message.startswith(f"{two}: its columns are not those of '{one}'. It lacks ['b'].")
    assert "It has ['bb'], which the first has not. Did you mean 'bb'" in message
    assert read(Csv(columns=["a"]), one, two)[1] == [[1], [1]]
    assert "It lacks ['b']" in refusal(Csv(columns=["b"]), one, two)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "it is empty"),
        ("a,b\n1,2\n3\n", "row 3 of the file .*expected 2 columns, got 1: '3'"),
        ("a,b\n1,2,3\n", "expected 2 columns, got 3"),
        ("a,a\n1,2\n", r"names of their own; \['a'\] is there again"),
        ("a,\n1,2\n", r"column 1 has no name"),
        ("a;b\n1;2\n", r"seems to be separated by that. Say delimiter=';'"),
        (b"a,b\n1,x\n2,\xff\n", r"row 1: column 'b' is not UTF-8.*encoding="),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_named(write, text, expected):
    path = write(text)
    with pytest.raises(DataError, match=expected) as caught:
        read(Csv(), path)
    assert str(caught.value).startswith(path)


def test_a_file_that_is_not_there_or_not_compressed_is_named(write):
    assert "no.csv: the file can't be read" in refusal(Csv(), "no.csv")
    assert "a.csv.gz: the file can't be read" in refusal(Csv(), write("a,b\n", "a.csv.gz"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"columns": []}, "at least one column"),
        ({"columns": ["a", "a"]}, "each once"),
        ({"classes": ["a"]}, "no label column"),
        ({"floats": "float16"}, "floats must be"),
        ({"join": "p*"}, "join must be a dict"),
        ({"columns": ["a"], "schema": Schema([Field("a", (), "int8")])}, "Leave columns out"),
    ],
)
def test_options_that_cannot_be_are_refused(options, expected):
    with pytest.raises(DataError, match=f"^Csv: .*{expected}"):
        Csv(**options)


def test_a_row_may_be_as_long_as_is_said_and_a_quote_must_close(write):
    long = "x" * 3000
    path = write(f"a,b\n1,{long}\n")
    assert read(Csv(), path)[1] == [[1, long]]
    assert "longer than 1024 bytes (longest=" in refusal(Csv(longest=1024), path)
    assert "or a quote is not closed" in refusal(Csv(longest=1024), write(f'a,b\n1,"{long}'))


def test_blocks_do_not_change_what_is_read(write):
    lines = [f"{n},{n / 8},t{n}" for n in range(2000)]
    path = write("\n".join(["i,f,t", *lines]) + "\n2000,,t2000\n")
    small = read(Csv(longest=100, fill=-1), path)
    assert small == read(Csv(fill=-1), path)
    assert small[1][-2:] == [[1999, 1999 / 8, "t1999"], [2000, -1.0, "t2000"]]
    assert f"{path}, row 2000: column 'f' is empty" in refusal(Csv(longest=100), path)


def test_one_column_keeps_its_empty_rows(write):
    assert read(Csv(), write("text\na\n\nb\n"))[1] == [["a"], [""], ["b"]]


def test_csv_files_become_records(write, tmp_path: Path):
    files = [write(f"x,kind\n{i},{'ab'[i % 2]}\n", f"{i}.csv") for i in range(3)]
    reader = Csv(label="kind", floats="float32").for_files(files)
    records = prepare(files, tmp_path / "records", reader.schema, reader, workers=1)
    assert records.metadata["classes"] == ["a", "b"]
    assert records.gather(np.array([2, 1]))["label"].tolist() == [0, 1]

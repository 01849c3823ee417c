"""Text files, line by line and by class folder, and what does not decode by its line."""

import gzip
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.prepare import prepare
from dovetail.data.readers.text_folder import TextFolder
from dovetail.data.readers.text_lines import TextLines
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError


@pytest.fixture
def write(tmp_path):
    def write(content, name="a.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def texts(reader, *files):
    bound = pickle.loads(pickle.dumps(reader.for_files(files)))
    return [row["text"] for name in files for row in bound(name)]


def labelled(reader, *files):
    bound = pickle.loads(pickle.dumps(reader.for_files(files)))
    return [(row["text"], row["label"]) for name in files for row in bound(name)]


def test_each_line_is_a_row_whatever_ends_it(write):
    path = write("one\n two \r\n\nthree\u2028same\x0bline\nlast")
    assert texts(TextLines(), path) == ["one", " two ", "", "three\u2028same\x0bline", "last"]
    assert texts(TextLines(skip_empty=True), path)[2] == "three\u2028same\x0bline"
    assert texts(TextLines(), write("")) == []
    assert str(TextLines().schema) == "'text': string []"


@given(lines=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))))
def test_lines_that_were_written_are_read(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8-sig"))
    assert texts(TextLines(), str(path)) == lines


def test_other_encodings_and_compression_are_read(write):
    assert texts(TextLines(encoding="latin-1"), write("ä\nö".encode("latin-1"))) == ["ä", "ö"]
    assert texts(TextLines(), write(gzip.compress(b"one\ntwo\n"), "a.txt.gz")) == ["one", "two"]


def test_what_does_not_decode_is_named_by_line_and_byte(write):
    path = write(b"fine\nnot \xff here\n")
    with pytest.raises(DataError, match=r"line 2: this is not utf-8 text \(byte 5 .*encoding="):
        texts(TextLines(), path)
    with pytest.raises(DataError, match="can't be cut into lines"):
        texts(TextLines(encoding="utf-16"), path)
    with pytest.raises(DataError, match="'uft8' is no encoding"):
        texts(TextLines(encoding="uft8"), path)
    with pytest.raises(DataError, match=r"no\.txt: the file can't be read"):
        texts(TextLines(), "no.txt")


def test_labels_are_split_off_and_numbered_over_all_files(write):
    one, two = write("good\ta\tb\n", "1.txt"), write("bad\tc\n", "2.txt")
    reader = TextLines(separator="\t")
    assert labelled(reader, one, two) == [("a\tb", 1), ("c", 0)]
    assert reader.for_files([one, two]).metadata == {"classes": ["bad", "good"]}
    assert [row["label"] for row in reader(one)] == [0]
    last = TextLines(separator=",", label="last")
    assert labelled(last, write("a, b,3\nc,10\n")) == [("a, b", 3), ("c", 10)]
    assert last.for_files([one.replace("1.txt", "a.txt")]).metadata == {}


def test_labels_with_leading_zeros_are_names(write):
    assert labelled(TextLines(separator=" "), write("07 a\n7 b\n")) == [("a", 0), ("b", 1)]


def test_a_line_without_its_label_is_named(write):
    reader = TextLines(separator="\t")
    with pytest.raises(DataError, match=r"a\.txt, line 2: there is no '\\t' between.*skip_empty"):
        labelled(reader, write("good\ta\n\n"))
    path = write("good\ta\ngodo\tb\n")
    with pytest.raises(DataError, match=r"line 2: its label 'godo' is none of.*mean 'good'"):
        labelled(TextLines(separator="\t", classes=["good", "bad"]), path)
    bound = reader.for_files([write("1\ta\n")])
    with pytest.raises(DataError, match=r"line 1: its label 'x' is not a whole number"):
        list(bound(write("x\ta\n")))


@pytest.mark.parametrize(
    "options", [{"separator": ""}, {"label": "middle"}, {"classes": ["a"]}, {"classes": "ab"}]
)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(DataError, match="^TextLines: "):
        TextLines(**options)


def test_a_schema_names_the_fields(write):
    review = Field("review", (1,), "string")
    schema = Schema([Field("stars", (1,), "uint8"), review])
    reader = TextLines(schema=schema, separator=" ")
    assert next(reader(write("3 fine\n"))) == {"review": "fine", "stars": 3}
    assert next(TextLines(schema=Schema([review]))(write("fine\n"))) == {"review": "fine"}
    with pytest.raises(DataError, match="^TextLines gives one field of text .* and no other"):
        TextLines(schema=schema)
    with pytest.raises(DataError, match="^TextFolder gives one field of text .* whole numbers"):
        TextFolder(schema=Schema([review]))


def test_files_in_class_folders_are_read_whole(write, tmp_path):
    files = [write("one\r\ntwo\n", "bad/1.txt"), write("\ufeffä", "good/1.txt")]
    reader = TextFolder()
    bound = pickle.loads(pickle.dumps(reader.for_files(files)))
    assert [bound(name) for name in files] == [
        {"text": "one\r\ntwo\n", "label": 0},
        {"text": "ä", "label": 1},
    ]
    assert reader.metadata == {}
    records = prepare(files, tmp_path / "records", reader.schema, reader, workers=1)
    assert records.metadata["classes"] == ["bad", "good"]
    assert records.gather(np.array([1]))["text"] == ["ä"]
    write(b"a\nb\xffc", "bad/2.txt")
    with pytest.raises(DataError, match=r"bad/2\.txt, line 2: this is not utf-8"):
        bound(str(tmp_path / "bad/2.txt"))


def test_given_classes_number_the_folders(write):
    path = write("x", "good/1.txt")
    assert TextFolder(classes=["good", "bad"])(path)["label"] == 0
    with pytest.raises(DataError, match="'good' is none of the classes"):
        TextFolder(classes=["bad"]).for_files([path])

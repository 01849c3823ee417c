"""The reader of images that a CSV file names."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dovetail.data.prepare import prepare
from dovetail.data.readers.image_table import ImageTable
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
SCHEMA = Schema([Field("image", (4, 5, 3), "uint8"), Field("label", (), "int64")])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def table(folder: Path, text: str, name: str = "a.csv") -> str:
    path = folder / name
    path.write_bytes(text.encode())
    return path.as_posix()


def rows(reader: ImageTable, name: str) -> list[dict[str, Any]]:
    bound = reader.for_files([name])
    assert bound.schema is not None
    return [bound.schema.convert(row, name) for row in bound(name)]


def test_images_and_labels_become_records(folder: Path) -> None:
    table(folder, "file,kind\nimages/0.png,dog\nimages/1.png,cat\nimages/2.png,dog\n")
    reader = ImageTable()
    records = prepare(folder / "a.csv", folder / "out", SCHEMA, reader, workers=1)
    found = records.gather(np.arange(3))
    assert np.array_equal(found["image"], PIXELS)
    assert found["label"].tolist() == [1, 0, 1]
    assert records.metadata == {"classes": ["cat", "dog"]}


def test_the_schema_is_told_from_images_and_labels(folder: Path) -> None:
    head = "file,kind\n"
    for first, dtype in (("dog", "int64"), ("7", "int64"), ("-7", "int64"), ("0.5", "float64")):
        name = table(folder, f"{head}images/0.png,{first}\nimages/1.png,3\n")
        reader = ImageTable().for_files([name])
        image = Field("image", (4, 5, 3), "uint8")
        assert reader.schema == Schema([image, Field("label", (), dtype)])
        assert pickle.loads(pickle.dumps(reader)) == reader
    Image.fromarray(PIXELS[0][:2]).save(folder / "images" / "small.png")
    name = table(folder, f"{head}images/0.png,1\nimages/small.png,2\n")
    reader = ImageTable().for_files([name])
    assert reader.schema is not None
    assert reader.schema["image"] == Field("image", (), "bytes")
    encoded = [(folder / "images" / f"{one}.png").read_bytes() for one in ("0", "small")]
    assert [row["image"] for row in reader(name)] == encoded


def test_numbers_are_labels_as_they_are(folder: Path) -> None:
    name = table(folder, "f,x\nimages/0.png,10\nimages/1.png,-3\n")
    assert [row["label"] for row in rows(ImageTable(SCHEMA), name)] == [10, -3]
    name = table(folder, "f,x\nimages/0.png,0.25\nimages/1.png,1e3\n")
    assert [row["label"] for row in rows(ImageTable(), name)] == [0.25, 1000]
    with pytest.raises(DataError, match=r"'label'.*0\.25"):
        rows(ImageTable(SCHEMA), name)


def test_columns_root_and_delimiter_are_chosen(folder: Path) -> None:
    text = "id;kind;where\r\n1;b;0.png\r\n2;a;1.png\r\n"
    (folder / "lists").mkdir()
    name = table(folder / "lists", "\ufeff" + text)
    root = (folder / "images").as_posix()
    reader = ImageTable(image="where", label="kind", root=root, delimiter=";")
    found = rows(reader, name)
    assert np.array_equal([row["image"] for row in found], PIXELS[:2])
    assert [row["label"] for row in found] == [1, 0]
    places = ImageTable(image=2, label=1, root=root, delimiter=";", header=False)
    name = table(folder / "lists", text.partition("\r\n")[2])
    assert [row["label"] for row in rows(places, name)] == [1, 0]


def test_names_with_commas_and_lines_are_quoted_as_in_any_csv(folder: Path) -> None:
    Image.fromarray(PIXELS[0]).save(folder / "a, b.png")
    name = table(folder, 'file,kind\n"a, b.png","two\nlines"\n\nimages/1.png,x\n')
    reader = ImageTable().for_files([name])
    assert reader.classes == ("two\nlines", "x")
    assert np.array_equal([row["image"] for row in rows(reader, name)], PIXELS[:2])


def test_the_images_may_be_the_files_and_the_table_has_their_labels(folder: Path) -> None:
    name = table(folder, "file,kind\nimages/2.png,dog\nimages/0.png,cat\nimages/1.png,ant\n")
    out, images = folder / "out", folder / "images"
    records = prepare(images / "[02].png", out, None, ImageTable(table=name), workers=1)
    found = records.gather(np.arange(2))
    assert np.array_equal(found["image"], PIXELS[[0, 2]])
    assert found["label"].tolist() == [0, 1]
    assert records.metadata == {"classes": ["cat", "dog"]}
    by_root = ImageTable(table=table(folder / "out", "f,k\n0.png,5\n"), root=images.as_posix())
    reader = by_root.for_files([(images / "0.png").as_posix()])
    assert [row["label"] for row in reader((images / "0.png").as_posix())] == [5]


def test_an_image_without_a_row_or_with_two_labels_is_refused(folder: Path) -> None:
    image = (folder / "images" / "0.png").as_posix()
    name = table(folder, "file,kind\nimages/1.png,cat\n")
    with pytest.raises(DataError, match=r"0\.png: no row of '.*a\.csv' names it.*root="):
        ImageTable(table=name).for_files([image])
    table(folder, "file,kind\nimages/0.png,cat\nimages/0.png,cat\n")
    assert ImageTable(table=name).for_files([image]).classes == ("cat",)
    table(folder, "file,kind\nimages/0.png,cat\nimages/../images/0.png,dog\n")
    with pytest.raises(DataError, match=r"line 3: .*'dog' here, and 'cat' before .*line 2"):
        ImageTable(table=name).for_files([image])
    with pytest.raises(DataError, match="has not seen"):
        list(ImageTable(SCHEMA, name)(image))


def test_given_classes_fix_the_labels(folder: Path) -> None:
    name = table(folder, "file,kind\nimages/0.png,dog\nimages/1.png,cat\n")
    reader = ImageTable(classes=["ant", "cat", "dog"])
    assert [row["label"] for row in rows(reader, name)] == [2, 1]
    with pytest.raises(DataError, match=r"a\.csv, line 2: the label 'dog'.*Did you mean 'dogs'"):
        rows(ImageTable(classes=["dogs", "cat"]), name)


def test_labels_of_several_tables_mean_the_same(folder: Path) -> None:
    names = [
        table(folder, f"file,kind\nimages/0.png,{kind}\n", f"{kind}.csv") for kind in ("b", "a")
    ]
    reader = ImageTable().for_files(names)
    assert [row["label"] for name in names for row in reader(name)] == [1, 0]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no column 0; its first line names"),
        ("file,kind\n", "no image in the table"),
        ("file\nimages/0.png\n", "no column 1"),
        ("file,kind\nimages/0.png\n", r"a\.csv, line 2: it has 1 columns, not 2"),
        ("file,kind\nimages/0.png,1,2\n", r"line 2: it has 3 columns, not 2"),
        ("file,kind\nimages/0.png,1\nimages/7.png,1\n", r"line 3: .*7\.png: .*cannot be read"),
        ('file,kind\n"images/0.png,1\n', "can't be read"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_line(folder: Path, text: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        rows(ImageTable(SCHEMA), table(folder, text))


def test_other_files_are_refused_by_name(folder: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.csv: the table can't be read \(No such file"):
        ImageTable().for_files(["nothing.csv"])
    with pytest.raises(DataError, match=r"0\.png: the table can't be read"):
        ImageTable().for_files([(folder / "images" / "0.png").as_posix()])
    with pytest.raises(DataError, match=r"no column 'knd'.*Did you mean 'kind'"):
        ImageTable(label="knd").for_files([table(folder, "file,kind\n")])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"delimiter": ";;"}, "delimiter must be one sign"),
        ({"header": False, "label": "kind"}, "label must be"),
        ({"classes": ["a", "a"]}, "name each once"),
        ({"schema": Schema([Field("image", (4, 5, 3), "uint8")])}, "exactly two fields"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        ImageTable(**options)

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dovetail.cli.prepare_readers import ModelFileReader
from dovetail.data.records import Records

FUNCTION = """

def prepare_data_for_a_single_file(filename):
    import PIL.Image
    from own_labels import label_of

    return np.array(PIL.Image.open(filename)), label_of(filename)
"""
IMAGES = "demo/digits/train/*/*.png"


@pytest.fixture
def own_reader(shop: Path) -> Path:
    """The shop, its model file with a prepare function that imports a module beside it."""
    with (shop / "digits.py").open("a") as file:
        file.write(FUNCTION)
    text = "def label_of(filename):\n    return int(filename.split('/')[-2])\n"
    (shop / "own_labels.py").write_text(text)
    return shop


def test_the_model_file_s_own_function_reads_the_files(run: Any, own_reader: Path) -> None:
    ran = run("prepare", "digits.py", IMAGES, "--output", "new", "--workers", 1)
    assert ran.code == 0
    assert "24 records in new" in ran.out
    assert "prepare file 24/24" in ran.err
    records = Records("new")
    assert records.gather(list(range(24)))["label"].ravel().tolist() == [0] * 8 + [1] * 8 + [2] * 8


def test_several_processes_write_the_same_bytes(run: Any, own_reader: Path) -> None:
    for workers in (1, 2):
        output = f"by_{workers}"
        ran = run("prepare", "digits.py", IMAGES, "--output", output, "--workers", workers)
        assert ran.code == 0
    assert Records("by_1").fingerprint == Records("by_2").fingerprint


def test_without_a_function_the_folders_of_images_are_the_classes(run: Any, shop: Path) -> None:
    for name in ("a/cat", "a/dog", "b/dog"):
        shutil.copytree("demo/digits/test/1", f"pets/{name}")
    ran = run("prepare", "digits.py", "pets/a/*/*.png", "--output", "a")
    assert ran.code == 0
    assert "classes: 0 cat, 1 dog" in ran.out
    ran = run("prepare", "digits.py", "pets/b/*/*.png", "--output", "b", "--classes-from", "a")
    assert ran.code == 0
    assert set(Records("b").gather([0, 1])["label"].ravel().tolist()) == {1}


def test_records_are_replaced_only_when_that_is_said(run: Any, shop: Path) -> None:
    words = ("prepare", "digits.py", IMAGES, "--output", "demo/records/test")
    ran = run(*words)
    assert ran.code == 1
    assert "--overwrite" in ran.err
    assert len(Records("demo/records/test")) == 9
    assert run(*words, "--overwrite").code == 0
    assert len(Records("demo/records/test")) == 24


def test_a_pattern_without_files_is_a_mistake(run: Any, shop: Path) -> None:
    ran = run("prepare", "digits.py", "demo/digits/train/*/*.jpg", "--output", "new")
    assert ran.code == 1
    assert "*.jpg" in ran.err
    assert not (shop / "new").exists()


def test_a_model_file_without_a_schema_is_a_mistake(run: Any, shop: Path) -> None:
    text = (shop / "digits.py").read_text()
    (shop / "digits.py").write_text(text.partition("def data_schema")[0])
    ran = run("prepare", "digits.py", IMAGES, "--output", "new")
    assert ran.code == 1
    assert "data_schema" in ran.err


def test_an_image_that_does_not_decode_is_named_and_nothing_is_left(run: Any, shop: Path) -> None:
    (shop / "demo/digits/train/1/3.png").write_bytes(b"no image")
    ran = run("prepare", "digits.py", IMAGES, "--output", "new")
    assert ran.code == 1
    assert "demo/digits/train/1/3.png" in ran.err
    assert not (shop / "new").exists()


def test_classes_of_other_records_are_for_image_folders_only(run: Any, own_reader: Path) -> None:
    words = ("--output", "new", "--classes-from", "demo/records/test")
    ran = run("prepare", "digits.py", IMAGES, *words)
    assert ran.code == 1
    assert "prepare_data_for_a_single_file" in ran.err


def test_records_without_classes_cannot_give_them(run: Any, shop: Path) -> None:
    words = ("--output", "new", "--classes-from", "demo/records/test")
    ran = run("prepare", "digits.py", IMAGES, *words)
    assert ran.code == 1
    assert "no names of classes" in ran.err


CUSTOM = """

class Ten:
    schema = None

    def for_files(self, names):
        bound = Ten()
        bound.schema = Schema.from_list([{"name": "of", "shape": [], "dtype": "int32"}])
        bound.count = len(names)
        return bound

    def __call__(self, filename):
        for _ in range(10):
            yield {"of": self.count}


def custom_data_reader():
    from dovetail import Schema
    globals()["Schema"] = Schema
    return Ten()
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_file_s_own_reader_is_used_and_says_what_it_gives(
    run: Any, shop: Path, workers: int
) -> None:
    text = (shop / "digits.py").read_text().partition("def data_schema")[0]
    (shop / "digits.py").write_text(text + CUSTOM)
    ran = run("prepare", "digits.py", IMAGES, "--output", "new", "--workers", workers)
    assert (ran.code, "240 records in new" in ran.out) == (0, True), ran.err
    assert Records("new").gather([239])["of"].tolist() == [24]
    assert "dtype: int32" in run("prepare", "digits.py", IMAGES, "--show-schema").out


TABLE = "size,kind\n1.5,cat\n2,dog\n3,cat\n"


def test_a_reader_needs_no_model_and_its_schema_is_shown_to_be_edited(
    run: Any, in_tmp: Path
) -> None:
    (in_tmp / "a.csv").write_text(TABLE)
    ran = run("prepare", "*.csv", "--reader", "csv", "--show-schema")
    assert ran.code == 0, ran.err
    assert yaml.safe_load(ran.out) == [
        {"name": "size", "shape": [], "dtype": "float64"},
        {"name": "kind", "shape": [], "dtype": "string"},
    ]
    assert not (in_tmp / "new").exists()
    (in_tmp / "s.yaml").write_text(ran.out.replace("float64", "float32"))
    ran = run("prepare", "*.csv", "--reader", "csv", "--schema", "s.yaml", "--output", "new")
    assert (ran.code, "size: float32 []" in ran.out) == (0, True), ran.err


def test_options_reach_the_reader_and_its_classes_are_shown(run: Any, in_tmp: Path) -> None:
    (in_tmp / "a.csv").write_text(TABLE.replace(",", ";"))
    words = ("--reader-option", "label=kind", "--reader-option", "delimiter=;")
    ran = run("prepare", "a.csv", "--reader", "csv", *words, "--output", "new")
    assert (ran.code, "classes: 0 cat, 1 dog" in ran.out) == (0, True), ran.err
    assert Records("new").gather([0, 1, 2])["label"].tolist() == [0, 1, 0]


def test_a_named_reader_comes_before_the_model_s_and_takes_its_schema(
    run: Any, own_reader: Path
) -> None:
    ran = run("prepare", "digits.py", IMAGES, "--reader", "image-folder", "--output", "new")
    assert (ran.code, "image: uint8 [4, 4]" in ran.out) == (0, True), ran.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("*.csv", "--reader", "cvs", "--output", "new"), 1, "no reader 'cvs'"),
        (("*.csv", "--reader", "csv"), 2, "--output"),
        (("--reader", "csv", "--output", "new"), 2, "GLOB"),
        (("digits.py", "--output", "new"), 2, "digits.py is taken for"),
        (("*.csv", "--reader", "csv", "--reader-option", "x", "--output", "n"), 1, "NAME=VALUE"),
        (("*.csv", "--reader", "csv", "--reader-option", "schema=x", "--output", "n"), 1, "FILE"),
        (("*.csv", "--reader", "csv", "--schema", "no.json", "--output", "n"), 1, "no.json"),
        (("*.csv", "--reader", "csv", "--schema", "a.csv", "--output", "n"), 1, "--schema a.csv"),
        (("*.csv", "--reader", "csv", "--on-error", "ignore", "--output", "n"), 1, "on_error"),
        (("digits.py", "a", "--reader-option", "x=1", "--output", "n"), 1, "--reader names"),
    ],
)
def test_what_does_not_go_together_is_said(
    run: Any, shop: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    (shop / "a.csv").write_text(TABLE)
    ran = run("prepare", *words)
    assert (ran.code, message in ran.err) == (code, True), ran.err
    assert not (shop / "new").exists()


def test_files_that_fail_are_left_out_when_that_is_said_and_listed(run: Any, shop: Path) -> None:
    for number in (3, 5):
        (shop / f"demo/digits/train/1/{number}.png").write_bytes(b"no image")
    ran = run("prepare", "digits.py", IMAGES, "--output", "new", "--on-error", 1)
    assert (ran.code, "2 files failed" in ran.err) == (1, True)
    ran = run("prepare", "digits.py", IMAGES, "--output", "new", "--on-error", "skip")
    assert ran.code == 0
    assert "22 records in new" in ran.out
    assert "2 files left out; new/failed.jsonl says why:" in ran.out
    assert "demo/digits/train/1/5.png: the image cannot be read" in ran.out
    assert "2 files left out" in run("records", "verify", "new").out


@pytest.mark.filterwarnings("default")  # notes, as they are outside of tests
def test_files_are_added_to_records_and_known_again(run: Any, shop: Path) -> None:
    words = ("digits.py", "demo/digits/*/*/*.png", "--output", "new")
    assert run("prepare", "digits.py", IMAGES, "--output", "new").code == 0
    ran = run("prepare", *words, "--append")
    assert (ran.code, "33 records in new (2 shards" in ran.out) == (0, True), ran.err
    assert "9 records added" in ran.out
    assert "24 files ('demo/digits/train/0/0.png', " in ran.err
    ran = run("prepare", *words, "--append")
    assert (ran.code, "0 records added" in ran.out) == (0, True), ran.err
    assert "so there is nothing to add" in ran.err


def test_added_rows_take_schema_and_classes_of_the_records(run: Any, in_tmp: Path) -> None:
    (in_tmp / "a.csv").write_text("size,kind\n1.5,cat\n2,dog\n")
    (in_tmp / "b.csv").write_text("size,kind\n3,dog\n")
    words = ("--reader", "csv", "--reader-option", "label=kind", "--output", "new")
    assert run("prepare", "a.csv", *words).code == 0
    ran = run("prepare", "b.csv", *words, "--append")
    assert ran.code == 0, ran.err
    records = Records("new")
    assert records.gather([0, 1, 2])["label"].tolist() == [0, 1, 1]
    assert records.gather([2])["size"].tolist() == [3.0]
    (in_tmp / "c.csv").write_text("size,kind\n3,bird\n")
    ran = run("prepare", "c.csv", *words, "--append")
    assert (ran.code, "bird" in ran.err) == (1, True)
    assert len(Records("new")) == 3


def test_added_folders_are_numbered_as_the_records_classes(run: Any, shop: Path) -> None:
    for name in ("a/cat", "a/dog", "b/dog", "c/dog", "d/emu"):
        shutil.copytree("demo/digits/test/1", f"pets/{name}")
    assert run("prepare", "digits.py", "pets/a/*/*.png", "--output", "new").code == 0
    ran = run("prepare", "digits.py", "pets/b/*/*.png", "--output", "new", "--append")
    assert ran.code == 0, ran.err
    ran = run(
        *("prepare", "pets/c/*/*.png", "--reader", "image_folder", "--output", "new", "--append")
    )
    assert ran.code == 0, ran.err
    assert Records("new").gather(range(6, 12))["label"].ravel().tolist() == [1] * 6
    ran = run("prepare", "digits.py", "pets/d/*/*.png", "--output", "new", "--append")
    assert (ran.code, "emu" in ran.err) == (1, True)


def test_a_schema_that_differs_from_the_records_is_named(run: Any, shop: Path) -> None:
    text = (shop / "digits.py").read_text()
    (shop / "digits.py").write_text(text.replace('"int64"', '"int32"'))
    words = ("digits.py", IMAGES, "--output", "demo/records/test", "--append")
    ran = run("prepare", *words)
    assert (ran.code, "'label': int32 [1] here, int64 [1] there" in ran.err) == (1, True), ran.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--output", "demo/records/test", "--overwrite"), 2, "--overwrite replaces them"),
        (("--show-schema",), 2, "--output says which"),
        (("--output", "none"), 1, "There are no records at"),
    ],
)
def test_append_needs_records_to_add_to(
    run: Any, shop: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    ran = run("prepare", "digits.py", IMAGES, *words, "--append")
    assert (ran.code, message in ran.err) == (code, True), ran.err


def test_a_changed_model_file_is_another_job(shop: Path) -> None:
    before = ModelFileReader("digits.py").identity
    (shop / "digits.py").write_text((shop / "digits.py").read_text() + FUNCTION)
    (shop / "own_labels.py").write_text("A = 1\n")
    between = ModelFileReader("digits.py").identity
    (shop / "own_labels.py").write_text("A = 2\n")
    assert len({before, between, ModelFileReader("digits.py").identity}) == 3


def test_without_a_model_file_nothing_waits_for_torch(in_tmp: Path) -> None:
    (in_tmp / "a.csv").write_text(TABLE)
    code = (
        "import sys\n"
        "from dovetail.cli.main import main\n"
        "main(['prepare', 'a.csv', '--reader', 'csv', '--output', 'new'])\n"
        "print('torch' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "False"

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

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

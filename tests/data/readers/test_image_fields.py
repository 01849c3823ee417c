"""Which fields images go to, and what a set of images is."""

from pathlib import Path

import pytest
from PIL import Image

from dovetail.data.readers.image_fields import image_and_label, tell_image
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError


def save(folder: Path, number: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> str:
    path = folder / f"{number}.png"
    Image.new(mode, size).save(path)
    return path.as_posix()


def test_one_size_is_pixels_with_the_channels_that_hold_all(tmp_path: Path) -> None:
    grey = [save(tmp_path, number, mode="L") for number in range(3)]
    assert tell_image(grey) == Field("image", (4, 6, 1), "uint8")
    assert tell_image([*grey, save(tmp_path, 3)]) == Field("image", (4, 6, 3), "uint8")


def test_sizes_that_differ_keep_images_encoded(tmp_path: Path) -> None:
    names = [save(tmp_path, 0), save(tmp_path, 1, (4, 6))]
    assert tell_image(names) == Field("image", (), "bytes")


def test_a_hundred_of_many_are_looked_at(tmp_path: Path) -> None:
    names = [save(tmp_path, 0)] + ["nothing.png"] * 250
    assert tell_image([names[0] if i % 3 == 0 else "nothing.png" for i in range(250)])
    assert tell_image(names) == Field("image", (4, 6, 3), "uint8")  # what can't be read comes later
    with pytest.raises(DataError, match=r"nothing\.png: the image cannot be read"):
        tell_image(names[1:])
    with pytest.raises(DataError, match="no image"):
        tell_image([])


def test_the_fields_are_found_by_their_types_in_any_order() -> None:
    image, label = Field("photo", (None, None, 3), "float32"), Field("kind", (1,), "uint8")
    assert image_and_label(Schema([label, image]), "", "") == (image, label)
    with pytest.raises(DataError, match="Pets are read only where .*'kind'.*Do otherwise"):
        image_and_label(Schema([label]), "Pets are read", "Do otherwise.")

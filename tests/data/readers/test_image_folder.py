"""The reader of images in one folder per class."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dovetail.data.readers.image_folder import ImageFolder, image_folder_schema
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)
COLOUR = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def save(image: Image.Image, path: Path, **options: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path.as_posix()


def read(name: str, schema: Schema) -> dict[str, Any]:
    return schema.convert(ImageFolder(schema).for_files([name])(name), name)


def test_pixels_and_the_number_of_the_folder_are_read(tmp_path: Path) -> None:
    name = save(Image.fromarray(GREY), tmp_path / "7" / "a.png")
    row = read(name, image_folder_schema(8, 8, 1))
    assert np.array_equal(row["image"], GREY[:, :, None])
    assert np.array_equal(row["label"], [7])


def test_the_schema_of_page_4_is_read_as_its_own_function_reads_it(tmp_path: Path) -> None:
    fields = [
        {"name": "image", "shape": [8, 8], "dtype": "float32"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]
    schema = Schema.from_list(fields)
    name = save(Image.fromarray(GREY), tmp_path / "3" / "a.png")
    by_hand = schema.convert((np.array(Image.open(name)), int(name.split("/")[-2])), name)
    row = read(name, schema)
    assert np.array_equal(row["image"], by_hand["image"])
    assert row["image"].dtype == np.float32
    assert np.array_equal(row["label"], by_hand["label"])


def test_colour_is_kept_for_three_channels_and_becomes_luma_for_one(tmp_path: Path) -> None:
    name = save(Image.fromarray(COLOUR), tmp_path / "0" / "a.png")
    assert np.array_equal(read(name, image_folder_schema(8, 8, 3))["image"], COLOUR)
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    grey = np.asarray(read(name, image_folder_schema(8, 8, 1))["image"])[:, :, 0]
    assert np.abs(grey - luma).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_usual_mode_gives_the_schemas_channels(tmp_path: Path, mode: str) -> None:
    black_and_white = np.where(GREY % 2, 255, 0).astype(np.uint8)
    image = Image.fromarray(black_and_white).convert("RGB").convert(mode)
    name = save(image, tmp_path / "0" / ("a.tif" if mode == "CMYK" else "a.png"))
    for channels in (1, 3):
        pixels = np.asarray(read(name, image_folder_schema(8, 8, channels))["image"])
        assert pixels.shape == (8, 8, channels)
        assert (pixels == black_and_white[:, :, None]).all()


def test_an_image_that_is_transparent_somewhere_is_refused(tmp_path: Path) -> None:
    pixels = np.dstack([COLOUR, np.full((8, 8), 255, np.uint8)])
    pixels[2, 3, 3] = 254
    name = save(Image.fromarray(pixels), tmp_path / "0" / "a.png")
    with pytest.raises(DataError, match=r"0/a\.png: .*mode RGBA.*transparent"):
        read(name, image_folder_schema(8, 8, 3))


def test_a_transparent_colour_of_a_palette_is_refused_only_where_it_is_used(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).quantize(16)
    used, unused = np.asarray(image)[0, 0], 200
    schema = image_folder_schema(8, 8, 3)
    good = save(image, tmp_path / "0" / "good.gif", transparency=unused)
    assert np.array_equal(read(good, schema)["image"], np.asarray(image.convert("RGB")))
    bad = save(image, tmp_path / "0" / "bad.png", transparency=int(used))
    with pytest.raises(DataError, match="transparent"):
        read(bad, schema)


def test_16_bits_are_kept_where_the_schema_holds_them_and_else_refused(tmp_path: Path) -> None:
    pixels = (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    name = save(Image.fromarray(pixels), tmp_path / "0" / "a.png")
    for dtype in ("uint16", "int32", "float32"):
        wide = Schema([Field("image", (8, 8), dtype), Field("label", (), "int64")])
        assert np.array_equal(read(name, wide)["image"], pixels)
    with pytest.raises(DataError, match=r"a\.png: .*mode I;16; .*uint8.*more than 8 bits"):
        read(name, image_folder_schema(8, 8, 1))


def test_16_bits_of_colour_are_refused_since_pillow_would_cut_them(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)  # 8x8, 16 bits, RGB
    lines = zlib.compress((b"\0" + bytes(8 * 6)) * 8)
    path = tmp_path / "0" / "a.png"
    path.parent.mkdir()
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    )
    with pytest.raises(DataError, match="16 bits a channel"):
        read(path.as_posix(), image_folder_schema(8, 8, 3))


def test_an_image_of_another_size_is_refused_with_both_sizes_and_the_mode(tmp_path: Path) -> None:
    name = save(Image.fromarray(GREY[:5]), tmp_path / "0" / "a.png")
    with pytest.raises(DataError) as caught:
        read(name, image_folder_schema(8, 8, 1))
    for part in (name, "5 x 8 pixels", "mode L", "expects 8 x 8, greyscale", "Resize"):
        assert part in str(caught.value)


def test_a_size_of_none_takes_images_of_any_size(tmp_path: Path) -> None:
    name = save(Image.fromarray(GREY[:5]), tmp_path / "0" / "a.png")
    row = read(name, image_folder_schema(None, None, 1))
    assert np.array_equal(row["image"], GREY[:5, :, None])


@pytest.mark.parametrize("damage", ["text", "cut", "flipped", "absent"])
def test_a_file_that_does_not_decode_is_named(tmp_path: Path, damage: str) -> None:
    name = save(Image.fromarray(np.tile(COLOUR, (8, 8, 1))), tmp_path / "0" / "a.png")
    whole = bytearray(Path(name).read_bytes())
    middle = len(whole) // 2
    if damage == "absent":
        Path(name).unlink()
    elif damage == "text":
        Path(name).write_text("not an image")
    elif damage == "cut":
        Path(name).write_bytes(whole[:middle])
    else:
        whole[middle] ^= 255
        Path(name).write_bytes(whole)
    with pytest.raises(DataError, match=r"0/a\.png: the image cannot be read") as caught:
        read(name, image_folder_schema(64, 64, 3))
    assert caught.value.__cause__ is not None


def test_moving_pictures_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1])]
    name = save(frames[0], tmp_path / "0" / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="several frames"):
        read(name, image_folder_schema(8, 8, 1))


def test_names_become_indices_of_the_sorted_classes() -> None:
    reader = ImageFolder(image_folder_schema(8, 8)).for_files(["x/dog/1.png", "x/cat/1.png"])
    assert reader.classes == ("cat", "dog")
    assert reader.metadata == {"classes": ["cat", "dog"]}


def test_given_classes_fix_the_labels_and_refuse_an_unknown_folder(tmp_path: Path) -> None:
    schema = image_folder_schema(8, 8, 1)
    name = save(Image.fromarray(GREY), tmp_path / "dog" / "a.png")
    reader = ImageFolder(schema, classes=["ant", "cat", "dog"]).for_files([name])
    assert reader(name)["label"] == 2
    with pytest.raises(DataError, match=r"x/dgo/a\.png: its folder 'dgo' .*Did you mean 'dog'"):
        reader.for_files(["x/dgo/a.png"])


def test_whole_numbers_need_no_classes_and_may_not_mean_the_same_twice() -> None:
    reader = ImageFolder(image_folder_schema(8, 8))
    assert reader.for_files(["x/10/a.png", "x/2/a.png"]).metadata == {}
    with pytest.raises(DataError, match="Two folders stand for one number"):
        reader.for_files(["x/7/a.png", "x/07/a.png"])


def test_a_label_that_the_schema_cannot_hold_is_refused_by_name(tmp_path: Path) -> None:
    schema = Schema([Field("image", (8, 8), "uint8"), Field("label", (), "uint8")])
    name = save(Image.fromarray(GREY), tmp_path / "300" / "a.png")
    with pytest.raises(DataError, match=r"300/a\.png.*'label'.*300"):
        read(name, schema)


@pytest.mark.parametrize(
    "fields",
    [
        [Field("image", (8, 8), "uint8")],
        [Field("image", (8, 8), "uint8"), Field("label", (3,), "int64")],
        [Field("a", (8, 8), "uint8"), Field("b", (8, 8), "uint8")],
        [Field("a", (8, 8), "uint8"), Field("b", (), "int64"), Field("c", (), "int64")],
    ],
)
def test_a_schema_without_one_image_and_one_label_is_refused(fields: list[Field]) -> None:
    with pytest.raises(DataError, match=r"exactly two fields.*prepare_data_for_a_single_file"):
        ImageFolder(Schema(fields))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_field_of_bytes_keeps_images_encoded_in_any_size(tmp_path: Path, kind: str) -> None:
    schema = Schema([Field("image", (), "bytes"), Field("label", (), "int64")])
    for number, pixels in enumerate([COLOUR, COLOUR[:5]]):
        name = save(Image.fromarray(pixels), tmp_path / "7" / f"{number}.{kind}")
        row = read(name, schema)
        assert row["image"] == Path(name).read_bytes()
        assert row["label"] == 7


def test_without_a_schema_it_is_told_from_the_files(tmp_path: Path) -> None:
    names = [save(Image.fromarray(COLOUR), tmp_path / kind / "a.png") for kind in ("dog", "cat")]
    reader = ImageFolder().for_files(names)
    assert reader.metadata == {"classes": ["cat", "dog"]}
    assert reader.schema == Schema(
        [Field("image", (8, 8, 3), "uint8"), Field("label", (), "int64")]
    )
    names.append(save(Image.fromarray(COLOUR[:5]), tmp_path / "cat" / "b.png"))
    reader = ImageFolder().for_files(names)
    assert reader.schema is not None
    assert reader.schema["image"].dtype == "bytes"
    assert reader(names[2]) == {"image": Path(names[2]).read_bytes(), "label": 0}
    with pytest.raises(DataError, match="no schema yet"):
        ImageFolder(classes=["cat", "dog"])(names[0])


def test_a_folders_label_is_a_whole_number() -> None:
    with pytest.raises(DataError, match="whole number.*'label': float32"):
        ImageFolder(Schema([Field("image", (8, 8), "uint8"), Field("label", (), "float32")]))

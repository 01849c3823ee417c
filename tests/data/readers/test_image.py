"""Images kept encoded, and what their headers say."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dovetail.data.readers.image import image_shape, read_encoded, read_image
from dovetail.data.schema import Field
from dovetail.errors import DataError

ENCODED = Field("photo", (), "bytes")
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)


def save(folder: Path, kind: str, mode: str = "RGB", **options: bool) -> Path:
    path = folder / f"a.{kind}"
    Image.fromarray(PIXELS).convert(mode).save(path, kind, **options)
    return path


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_files_bytes_are_kept_as_they_are(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path, kind)
    assert read_encoded(path.as_posix(), ENCODED) == path.read_bytes()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_each_format_decodes_to_what_pillow_decodes(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path, kind)
    pixels = read_image(path.as_posix(), Field("image", (16, 24, 3), "uint8"))
    assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(path.read_bytes()))))


def test_lossless_webp_gives_the_pixels_back(tmp_path: Path) -> None:
    path = save(tmp_path, "webp", lossless=True)
    assert np.array_equal(read_image(path.as_posix(), Field("x", (16, 24, 3), "uint8")), PIXELS)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_damaged_image_is_found_now_unless_only_headers_are_looked_at(
    tmp_path: Path, kind: str
) -> None:
    path = save(tmp_path, kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 60])
    with pytest.raises(DataError, match=rf"a\.{kind}: the image cannot be read"):
        read_encoded(path.as_posix(), ENCODED)
    if kind != "webp":  # whose header holds the file's size
        assert read_encoded(path.as_posix(), ENCODED, check=False) == path.read_bytes()
    for damaged in (b"", b"hello"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="cannot be read"):
            read_encoded(path.as_posix(), ENCODED, check=False)


def test_more_than_8_bits_and_moving_pictures_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(path)
    with pytest.raises(DataError, match=r"mode I;16; .*'photo'.*8 bits"):
        read_encoded(path.as_posix(), ENCODED)
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    frames[0].save(tmp_path / "b.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="several frames"):
        read_encoded((tmp_path / "b.webp").as_posix(), ENCODED)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3)])
def test_the_header_tells_size_and_channels(tmp_path: Path, mode: str, channels: int) -> None:
    assert image_shape(save(tmp_path, "png", mode).as_posix()) == (16, 24, channels)

"""Encoded images become pixels, many at once; a bad one is named."""

import io
import os
import threading

import numpy as np
import pytest
from PIL import Image

from dovetail.data import decode
from dovetail.data.decode import decode_image, decode_images
from dovetail.errors import DataError


def encoded(pixels, kind="png", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)


def test_every_image_comes_back_in_its_place(pixels):
    np.testing.assert_array_equal(decode_images([encoded(one) for one in pixels]), pixels)


JPEGS = [
    {},
    {"quality": 20},
    {"quality": 95, "subsampling": 0},
    {"subsampling": 1},
    {"progressive": True},
    {"optimize": True, "restart_marker_rows": 1},
]


@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (16, 16), (33, 50)])
def test_plain_jpegs_have_the_pixels_that_pillow_gives(shape, options):
    pytest.importorskip("simplejpeg")
    coarse = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    files = []
    for one in coarse:  # smooth, as photographs are, and noisy
        smooth = np.asarray(Image.fromarray(one).resize(shape[::-1], Image.Resampling.BICUBIC))
        noise = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
        files += [encoded(smooth, "jpeg", **options), encoded(noise, "jpeg", **options)]
    into = np.empty((*shape, 3), np.uint8)
    assert all(decode._jpeg_decoded(file, into) for file in files)
    expected = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    np.testing.assert_array_equal(decode_images(files), np.stack(expected))


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [None, (6, 5), (3, 9)])
def test_one_image_alone_is_decoded_as_in_a_batch(pixels, kind, channels, size):
    files = [encoded(one, kind) for one in pixels[:5]]
    alone = [decode_image(file, size, channels=channels) for file in files]
    np.testing.assert_array_equal(decode_images(files, size, channels=channels), np.stack(alone))
    alone[0][:] = 0  # it may be written to


@pytest.mark.parametrize("file", [b"", b"nothing", b"\xff\xd8\xff nothing"])
def test_one_image_that_cannot_be_decoded_is_named(file):
    with pytest.raises(DataError, match="x.jpg holds no image"):
        decode_image(file, where="x.jpg")
    with pytest.raises(DataError, match="1, 3 or 4"):
        decode_image(file, channels=2)


def test_without_simplejpeg_pillow_decodes(pixels, monkeypatch):
    files = [encoded(one, "jpeg") for one in pixels]
    quick = decode_images(files)
    monkeypatch.setattr(decode, "_simplejpeg", lambda: None)
    np.testing.assert_array_equal(decode_images(files), quick)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_that_are_not_plain_colour_are_left_to_pillow(mode):
    files = []
    for value in range(5):
        file = io.BytesIO()
        Image.new(mode, (6, 4), value if mode == "L" else (value, 0, 9, 0)).save(file, "jpeg")
        files.append(file.getvalue())
    expected = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    np.testing.assert_array_equal(decode_images(files), np.stack(expected))


def test_a_jpeg_cut_short_is_named():
    whole = encoded(np.zeros((40, 40, 3), np.uint8), "jpeg")
    files = [whole, whole, whole, whole[: len(whole) // 2], whole]
    with pytest.raises(DataError, match="image 3 of the batch"):
        decode_images(files)


@pytest.mark.parametrize(("kind", "options"), [("webp", {"lossless": True}), ("png", {})])
def test_formats_without_loss_give_the_pixels_written(pixels, kind, options):
    found = decode_images([encoded(one, kind, **options) for one in pixels])
    np.testing.assert_array_equal(found, pixels)


def test_jpeg_is_decoded_as_pillow_does(pixels):
    files = [encoded(one, "jpeg") for one in pixels]
    expected = [np.asarray(Image.open(io.BytesIO(file))) for file in files]
    np.testing.assert_array_equal(decode_images(files), np.stack(expected))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_are_converted(channels):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = decode_images([encoded(grey)], channels=channels)
    assert found.shape == (1, 3, 4, channels)
    np.testing.assert_array_equal(found[0, ..., 0], grey)


def test_images_of_many_sizes_are_scaled_to_one():
    files = [encoded(np.full((size, size + 3, 3), size, np.uint8)) for size in (4, 50, 200)]
    found = decode_images(files, (10, 8))
    assert found.shape == (3, 10, 8, 3)
    assert [int(one[5, 4, 0]) for one in found] == [4, 50, 200]


def test_a_large_jpeg_that_is_scaled_stays_close_to_one_read_whole():
    ramp = np.linspace(0, 255, 640).astype(np.uint8)
    file = encoded(np.broadcast_to(ramp[None, :, None], (480, 640, 3)).copy(), "jpeg", quality=95)
    whole = Image.open(io.BytesIO(file)).resize((64, 48), Image.Resampling.BILINEAR)
    difference = decode_images([file], (48, 64))[0].astype(int) - np.asarray(whole)
    assert abs(difference).max() <= 3


@pytest.mark.parametrize("bad", [b"", b"not an image", None])
def test_an_image_that_cannot_be_decoded_is_named(pixels, bad):
    files = [encoded(one) for one in pixels]
    files[23] = files[23][:60] if bad is None else bad
    files[31] = b""
    with pytest.raises(DataError, match=r"image 23 of the batch holds no image that can be decod"):
        decode_images(files)


def test_bytes_of_no_image_are_said_to_be_so():
    with pytest.raises(DataError, match=r"the file holds no .* decoded \(no known format; 9 bytes"):
        decode_image(b"not a png")


def test_images_of_two_sizes_without_a_size_are_refused(pixels):
    files = [encoded(one) for one in pixels]
    files[30] = encoded(np.zeros((9, 5, 3), np.uint8))
    with pytest.raises(DataError, match=r"image 30 .* is 9 x 5 pixels.*image 0 .* is 6 x 5.*size="):
        decode_images(files)


def test_what_does_not_fit_into_bytes_is_refused():
    deep = encoded(np.full((4, 4), 40_000, np.uint16))
    with pytest.raises(DataError, match="not of 8 bits"):
        decode_images([deep], channels=1)
    with pytest.raises(DataError, match="holds str, not the bytes"):
        decode_images(["x"])
    with pytest.raises(DataError, match="channels must be 1, 3 or 4"):
        decode_images([deep], channels=2)


def test_a_palette_with_transparency_is_decoded():
    image = Image.fromarray(np.zeros((4, 4), np.uint8), "L").convert("P")
    file = io.BytesIO()
    image.save(file, "png", transparency=b"\x00\x80")
    assert decode_images([file.getvalue()]).shape == (1, 4, 4, 3)


def test_no_images_are_an_empty_batch():
    assert decode_images([], (8, 9)).shape == (0, 8, 9, 3)


def test_all_callers_share_one_pool(pixels):
    files = [encoded(one) for one in pixels]
    for _ in range(3):
        decode_images(files)
    named = [one for one in threading.enumerate() if one.name.startswith("dovetail-decode")]
    assert len(named) <= decode._threads()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_decodes_too(pixels):
    files = [encoded(one) for one in pixels]
    decode_images(files)
    child = os.fork()
    if not child:
        os._exit(0 if (decode_images(files) == pixels).all() else 1)
    assert os.waitpid(child, 0)[1] == 0

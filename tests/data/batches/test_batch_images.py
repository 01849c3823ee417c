"""Ready actions on images, against Pillow, SciPy and closed forms; random ones item by item."""

import io

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from dovetail.data.batches.image_changes import cropped, cut_out, padded_images, resized, rotated
from dovetail.data.batches.images import ImagesBatch
from dovetail.data.batches.inbatch import ItemsError
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.record_writer import RecordWriter
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

COUNT = 24
SMOOTH = np.stack(
    [
        128 + 60 * np.sin(np.arange(20)[:, None] / (3 + n)) + 40 * np.cos(np.arange(24) / (4 + n))
        for n in range(COUNT)
    ]
)
GREY = SMOOTH.astype(np.uint8)
RGB = np.stack([GREY, GREY[:, ::-1], GREY[:, :, ::-1]], -1)


class Pictures(ImagesBatch):
    components = "images", "masks"


def batch(images=RGB, masks=GREY):
    return Pictures(np.arange(len(images)), preloaded=(images.copy(), masks.copy()))


# Each draws something for each item. By name, so that a failure says which.
RANDOM = {
    "crop": lambda one: one.crop((9, 11), "random", padding=2),
    "flip": lambda one: one.flip(p=0.5),
    "flip vertical": lambda one: one.flip("vertical", p=0.3),
    "random_rotate": lambda one: one.random_rotate((-40, 40), p=0.7),
    "rotate": lambda one: one.rotate(30, p=0.5),
    "noise": lambda one: one.noise(10.0, p=0.8),
    "uniform noise": lambda one: one.noise(10.0, kind="uniform"),
    "cutout": lambda one: one.cutout((5, 7), count=2, value=9, p=0.9),
    "all": lambda one: (
        one.random_rotate(20).flip(p=0.5).crop((9, 11), "random").noise(3).flip(p=0.5).normalize()
    ),
}


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("ragged", [False, True])
def test_what_an_item_gets_depends_on_its_id_the_epoch_and_the_seed_alone(name, ragged):
    images = list(RGB) if ragged else RGB
    dataset = Dataset([f"n{n}" for n in range(COUNT)], ImagesBatch, preloaded={"images": images})

    def made(size, shuffle, seed=4):
        found = {}
        for one in dataset.gen_batch(size, n_epochs=2, shuffle=shuffle, seed=seed):
            if ragged:  # as it is where images differ in size
                one.images = list(one.images)
            RANDOM[name](one)
            keys = zip(one.indices.tolist(), one.epochs.tolist(), strict=True)
            found |= dict(zip(keys, one.images, strict=True))
        return found

    expected = made(COUNT, False)
    for size, shuffle in [(5, True), (1, False), (30, 7)]:
        found = made(size, shuffle)
        assert found.keys() == expected.keys()
        for key, image in found.items():
            np.testing.assert_array_equal(image, expected[key])
    assert any((expected[f"n{n}", 0] != expected[f"n{n}", 1]).any() for n in range(COUNT))
    other = made(COUNT, False, seed=5)
    assert any((other[key] != expected[key]).any() for key in expected)


def test_ragged_items_get_what_items_in_one_array_get():
    for name, change in RANDOM.items():
        one, other = batch(), batch()
        other.images = list(other.images)
        change(one), change(other)
        np.testing.assert_array_equal(one.images, other.images, err_msg=name)


def test_components_named_together_get_the_same_change():
    for change in (
        lambda one, both: one.crop((5, 5), "random", component=both),
        lambda one, both: one.flip(p=0.5, component=both),
        lambda one, both: one.random_rotate(component=both),
        lambda one, both: one.cutout(6, component=both),
    ):
        one = batch(RGB, RGB[..., 0])
        change(one, ["images", "masks"])
        np.testing.assert_array_equal(one.images[..., 0], one.masks)


def test_the_data_set_stays_as_it_was():
    dataset = Dataset(COUNT, ImagesBatch, preloaded={"images": RGB.copy()})
    for change in RANDOM.values():
        change(dataset.create_batch(np.arange(COUNT)))
    np.testing.assert_array_equal(dataset.source.take("images", np.arange(COUNT)), RGB)


def test_files_in_records_are_decoded(tmp_path):
    schema = Schema([Field("image", (), "bytes"), Field("label", (), "int64")])
    with RecordWriter(tmp_path / "r", schema) as writer:
        for number, image in enumerate(RGB):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "png")
            writer.append((file.getvalue() if number != 5 else b"nothing", number))
    dataset = Dataset.from_records(tmp_path / "r", ImagesBatch)
    made = dataset.create_batch([3, 1]).decode()
    np.testing.assert_array_equal(made.image, RGB[[3, 1]])
    assert dataset.create_batch([3, 1]).decode((4, 5), channels=1).image.shape == (2, 4, 5, 1)
    with pytest.raises(ItemsError, match=r"failed for 1 of 24 items:\n  5: DataError"):
        dataset.next_batch(24).decode()


@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos", "box"])
@pytest.mark.parametrize("size", [(10, 12), (33, 7), (40, 48)])
def test_resizing_is_pillows(resample, size):
    kind = Image.Resampling[resample.upper()]
    made = batch().resize(size, resample=resample).images
    for image, expected in zip(made, RGB, strict=True):
        pillow = Image.fromarray(expected).resize(size[::-1], kind)
        np.testing.assert_array_equal(image, np.asarray(pillow))
    grey = resized(GREY[0], size, resample)
    np.testing.assert_array_equal(
        grey, np.asarray(Image.fromarray(GREY[0]).resize(size[::-1], kind))
    )
    np.testing.assert_array_equal(resized(GREY[0][..., None], size, resample)[..., 0], grey)


def test_halving_by_boxes_is_the_mean_of_four():
    expected = SMOOTH.reshape(COUNT, 10, 2, 12, 2).mean((2, 4))
    made = batch(SMOOTH).resize((10, 12), resample="box").images
    assert made.dtype == np.float64
    np.testing.assert_allclose(made, expected, rtol=1e-5)


@pytest.mark.parametrize("angle", [10, -30, 137.5])
def test_turning_is_scipys_away_from_the_edge(angle):
    image = SMOOTH[3, :20, :20].astype(np.float32)
    expected = scipy.ndimage.rotate(image, angle, reshape=False, order=1)
    made = rotated(image, angle)
    np.testing.assert_allclose(made[5:15, 5:15], expected[5:15, 5:15], atol=0.5)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int16])
def test_turning_by_quarters_moves_pixels(quarters, dtype):
    image = RGB[0, :20, :20].astype(dtype)
    made = rotated(image, 90 * quarters)
    assert made.dtype == dtype
    np.testing.assert_array_equal(made, np.rot90(image, quarters))


def test_corners_from_outside_are_filled():
    images = np.full((2, 9, 9, 3), 100, np.uint8)
    made = batch(images, GREY[:2]).rotate(45, fill=7).images
    assert (made[:, 0, 0] == 7).all()
    assert (made[:, 4, 4] == 100).all()
    alike = rotated(np.full((9, 9), 100, np.float32), 45, fill=7)
    assert (alike[0, 0], alike[4, 4]) == (7, 100)


def test_random_angles_lie_between_their_bounds():
    wedge = np.zeros((2000, 21, 21), np.float32)
    wedge[:, 10, 11:] = 1  # a line to the right of the centre: where it points says the angle
    made = ImagesBatch(np.arange(2000), preloaded={"images": wedge}).random_rotate(angle=30).images
    rows = np.arange(21)[None, :, None] - 10.0
    columns = np.arange(21)[None, None, :] - 10.0
    found = np.degrees(
        np.arctan2(-(made * rows).sum((1, 2)), (made * columns).sum((1, 2))),
    )
    assert -31 < found.min() < -28
    assert 28 < found.max() < 31
    assert abs(found.mean()) < 1.5  # uniform: 60 / sqrt(12 * 2000) = 0.4 degrees


@pytest.mark.parametrize(
    ("origin", "top", "left"), [("center", 5, 6), ("top_left", 0, 0), ((3, 2), 3, 2)]
)
def test_a_window_is_cut_where_it_is_asked_for(origin, top, left):
    made = batch().crop((10, 12), origin).images
    np.testing.assert_array_equal(made, RGB[:, top : top + 10, left : left + 12])


def test_a_random_window_is_one_of_the_image():
    for image, made in zip(RGB, batch().crop((18, 22), "random").images, strict=True):
        windows = [image[t : t + 18, left : left + 22] for t in range(3) for left in range(3)]
        assert any((made == window).all() for window in windows)


def test_images_of_several_sizes_become_one_array_by_crop_or_resize():
    images = [np.full((n + 5, 9, 3), n, np.uint8) for n in range(4)]
    for change in (
        lambda one: one.crop((5, 5)),
        lambda one: one.crop((5, 5), "random"),
        lambda one: one.resize((5, 5)),
    ):
        one = ImagesBatch(np.arange(4), preloaded={"images": images})
        assert change(one).images.shape == (4, 5, 5, 3)
        assert one.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    one = ImagesBatch(np.arange(4), preloaded={"images": images}).rotate(90)
    assert [image.shape for image in one.images] == [image.shape for image in images]


@pytest.mark.parametrize(
    ("width", "around"),
    [(2, [(2, 2), (2, 2)]), ((1, 3), [(1, 1), (3, 3)]), (((0, 1), (2, 3)), [(0, 1), (2, 3)])],
)
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_padding_is_numpys_around_each_image(width, around, mode):
    made = batch().pad(width, mode=mode).images
    expected = np.stack([np.pad(image, [*around, (0, 0)], mode) for image in RGB])
    np.testing.assert_array_equal(made, expected)


def test_flips_mirror_as_many_images_as_they_are_likely_to():
    np.testing.assert_array_equal(batch().flip().images, RGB[:, :, ::-1])
    np.testing.assert_array_equal(batch().flip("vertical").images, RGB[:, ::-1])
    np.testing.assert_array_equal(batch().flip(p=0).images, RGB)
    images = np.tile(np.array([[0, 1]], np.uint8), (4000, 1, 1))
    made = ImagesBatch(np.arange(4000), preloaded={"images": images}).flip(p=0.25).images
    assert abs(made[:, 0, 0].mean() - 0.25) < 0.03  # its deviation is 0.007


def test_cutout_covers_rectangles_that_end_at_the_edge():
    images = np.ones((3000, 12, 10), np.uint8)
    made = cut_out(images, np.arange(3000), (4, 5))
    covered = (made == 0).sum((1, 2))
    assert covered.max() == 20
    assert covered.min() == 2 * 3  # its centre in the corner that leaves least of it
    assert (images == 1).all()
    rows, columns = (made == 0).any(2).sum(1), (made == 0).any(1).sum(1)
    np.testing.assert_array_equal(rows * columns, covered)  # it is a rectangle
    # Any centre is as likely: over it, a pixel in the middle is covered by 4 x 5 of 12 x 10.
    assert abs((made[:, 6, 5] == 0).mean() - 20 / 120) < 0.03
    assert (cut_out(images, np.arange(3000), 3, p=0) == 1).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int16, bool])
def test_images_keep_their_dtype(dtype):
    images = (RGB > 128) if dtype is bool else RGB.astype(dtype)
    for change in (
        lambda one: one.resize((10, 12)),
        lambda one: one.rotate(10),
        lambda one: one.pad(1),
        lambda one: one.cutout(3),
        lambda one: one.flip(),
        lambda one: one.crop((4, 4)),
    ):
        assert change(batch(images)).images.dtype == dtype


def test_channels_stay_apart_for_any_number_of_them():
    four = np.concatenate([RGB, np.zeros_like(RGB[..., :1])], -1)  # the last is no opacity here
    for change in (lambda image: resized(image, (9, 31)), lambda image: rotated(image, 20)):
        made = change(four[0])
        for channel in range(4):
            np.testing.assert_array_equal(made[..., channel], change(four[0, ..., channel]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.flip(p=1.5), "from 0 to 1; got 1.5"),
        (lambda one: one.rotate(3, p=-0.1), "from 0 to 1; got -0.1"),
        (lambda one: one.cutout(3, p="half"), "from 0 to 1"),
        (lambda one: one.noise(3, p=2), "from 0 to 1"),
        (lambda one: one.flip("diagonal"), "axis"),
        (lambda one: one.crop((50, 5)), r"can't cut \[50, 5\]"),
        (lambda one: one.crop((50, 5), "random"), r"can't cut \[50, 5\]"),
        (lambda one: one.crop((5, 5), "middle"), "origin is"),
        (lambda one: one.crop((5, 5), (-1, 0)), "can't cut"),
        (lambda one: one.pad(-1), "each 0 or more"),
        (lambda one: one.pad((1, 2, 3)), "each 0 or more"),
        (lambda one: one.pad(1, mode="mirror"), "pad's mode"),
        (lambda one: one.resize((0, 5)), "1 or more"),
        (lambda one: one.resize((5, 5), resample="bilinea"), "Did you mean 'bilinear'"),
        (lambda one: one.rotate(3, resample="lanczos"), "one of nearest, bilinear, bicubic"),
        (lambda one: one.random_rotate((3, -3)), "least, greatest"),
        (lambda one: one.cutout(0), "1 or more"),
        (lambda one: one.resize((5, 5), component="mask"), "Did you mean 'masks'"),
    ],
)
def test_what_makes_no_sense_is_refused(change, said):
    with pytest.raises(DataError, match=said):
        change(batch())


def test_what_is_no_image_is_refused():
    for fn in (lambda x: cropped(x, (1, 1)), lambda x: padded_images(x, 1)):
        with pytest.raises(DataError, match="channels"):
            fn(np.zeros((3, 4)))
    with pytest.raises(DataError, match="got <U1"):
        resized(np.array([["a"]]), (3, 3))

"""Loading and dumping: what is written is read again, by other tools too, and never by pickle."""

import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dovetail.data.batches.batch import Batch
from dovetail.data.batches.inbatch import ItemsError
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.datasets.files_index import FilesIndex
from dovetail.errors import DataError


class Digits(Batch):
    components = "images", "labels", "names"


class Pictures(Batch):
    components = "images", "masks"


IDS = ["a", "b", "c", "d"]
IMAGES = np.arange(4 * 2 * 3 * 3, dtype=np.uint8).reshape(4, 2, 3, 3)
NAMES = ["eins", "zwei", "drei", "vier"]
ALL = {"images": IMAGES, "labels": np.arange(4), "names": NAMES}


def digits():
    return Dataset(IDS, Digits, preloaded=ALL)


def empty():
    return Dataset(IDS, Digits)


def check(batch, names=("images", "labels", "names")):
    at = [IDS.index(id) for id in batch.indices]
    for name in names:
        np.testing.assert_array_equal(np.asarray(getattr(batch, name)), np.asarray(ALL[name])[at])


@pytest.mark.parametrize("fmt", ["npz", "parquet", "arrow", "feather"])
def test_one_file_gives_back_what_a_batch_held_by_its_ids(in_tmp, fmt):
    digits().create_batch(["d", "a", "c"]).dump(f"all.{fmt}")
    batch = empty().create_batch(["a", "d"]).load(f"all.{fmt}")
    check(batch)
    with pytest.raises(DataError, match="no row for the item 'b'"):
        empty().create_batch(["a", "b"]).load(f"all.{fmt}")


def test_csv_holds_numbers_and_text(in_tmp):
    digits().next_batch(4).dump("all.csv", components=["labels", "names"])
    frame = pd.read_csv("all.csv")
    assert frame.to_dict("list") == {"id": IDS, "labels": [0, 1, 2, 3], "names": NAMES}
    check(empty().create_batch(["c", "b"]).load("all.csv"), ["labels", "names"])
    with pytest.raises(DataError, match="'images' can't be written as csv"):
        digits().next_batch(4).dump("images.csv")


def test_parquet_is_read_by_pandas_and_from_it(in_tmp):
    digits().next_batch(4).dump("all.parquet", components="labels")
    assert pd.read_parquet("all.parquet").labels.tolist() == [0, 1, 2, 3]
    ragged = [np.arange(n) for n in (1, 2, 0, 3)]
    pd.DataFrame({"names": NAMES, "images": ragged}).to_parquet("frame.parquet")
    batch = empty().create_batch(["d", "b"]).load("frame.parquet")
    assert [one.tolist() for one in batch.images] == [[0, 1, 2], [0, 1]]
    assert batch.names == ["vier", "zwei"]
    Digits(IDS, preloaded={"images": ragged}).dump("ragged.parquet", components="images")
    assert [len(one) for one in pd.read_parquet("ragged.parquet").images] == [1, 2, 0, 3]


def test_a_file_without_ids_is_in_the_order_of_the_data_set(in_tmp):
    np.save("labels.npy", np.arange(4) * 10)
    batch = empty().create_batch(["c", "a"]).load("labels.npy", components="labels")
    assert batch.labels.tolist() == [20, 0]
    batch.labels[:] = 1  # it is a copy
    digits().next_batch(4).dump("plain.npz", id_column=None)
    check(empty().create_batch(["d"]).load("plain.npz"))
    np.save("short.npy", np.arange(3))
    with pytest.raises(DataError, match="3 rows, and the data set 4 items"):
        empty().create_batch(["a"]).load("short.npy", components="labels")
    with pytest.raises(DataError, match="one array: say of which component"):
        empty().create_batch(["a"]).load("labels.npy")


def test_a_file_that_changed_is_read_anew(in_tmp):
    for factor in (1, 2):
        np.save("labels.npy", np.arange(4) * factor)
        batch = empty().create_batch(["d"]).load("labels.npy", components="labels")
        assert batch.labels.tolist() == [3 * factor]


@pytest.mark.parametrize("fmt", [None, "npz"])
def test_a_file_for_each_item_gives_back_what_it_held(in_tmp, fmt):
    digits().next_batch(4).dump("items", fmt)
    assert sorted(os.listdir("items")) == ["a.npz", "b.npz", "c.npz", "d.npz"]
    batch = empty().create_batch(["c", "a"]).load("items")
    check(batch)
    digits().next_batch(4).dump("single", "npy", "images")
    check(empty().create_batch(["c", "a"]).load("single", components="images"), ["images"])


def test_images_are_written_as_files_that_pillow_reads(in_tmp):
    digits().next_batch(4).dump("png", "image", "images")
    with Image.open("png/b.png") as image:
        np.testing.assert_array_equal(np.asarray(image), IMAGES[1])
    check(empty().create_batch(["d", "b"]).load("png", components="images"), ["images"])
    grey = Digits(["x"], preloaded={"images": IMAGES[:1, :, :, :1]}).dump("g", "bmp", "images")
    with Image.open("g/x.bmp") as image:
        assert image.mode == "L"
    read = Digits(["x"]).load("g", components="images", channels=1)
    np.testing.assert_array_equal(read.images, grey.images)


def test_files_of_an_index_are_loaded_without_a_word(in_tmp):
    digits().next_batch(4).dump("png", "image", "images")
    Image.new("RGB", (5, 7)).save("png/e.png")
    dataset = Dataset(FilesIndex("png/*.png", no_ext=True), Pictures)
    batch = dataset.create_batch(["b", "a"]).load(components="images")
    np.testing.assert_array_equal(batch.images, IMAGES[[1, 0]])
    several = dataset.create_batch(["e", "a"]).load(components="images")
    assert [one.shape for one in several.images] == [(7, 5, 3), (2, 3, 3)]
    scaled = dataset.create_batch(["e", "a"]).load(components="images", size=(4, 4))
    assert scaled.images.shape == (2, 4, 4, 3)
    with pytest.raises(DataError, match="components images, masks: say which"):
        batch.load()


def test_a_function_may_say_where_each_items_file_is(in_tmp):
    digits().next_batch(4).dump("png", "jpg", "images")
    batch = Batch(["a", "d"]).load(lambda id: f"png/{id}.jpg")
    assert batch.data.shape == (2, 2, 3, 3)


def test_data_of_the_whole_data_set_is_taken_by_position():
    batch = empty().create_batch(["c", "b"]).load({"labels": [5, 6, 7, 8]})
    assert batch.labels == [7, 6]
    batch.load((IMAGES, np.arange(4)))
    check(batch, ["images", "labels"])
    batch.load(np.arange(4) * 3, components="labels")
    assert batch.labels.tolist() == [6, 3]
    assert Batch([1, 2]).load([3, 4]).data == [3, 4]
    with pytest.raises(DataError, match="holds 3 values, and the index 4"):
        batch.load({"labels": [5, 6, 7]})
    with pytest.raises(DataError, match="Did you mean 'labels'"):
        batch.load(np.arange(4), components="label")


def test_preloaded_data_is_read_by_load():
    batch = digits().create_batch(["b"]).load(components="labels")
    assert ("labels" in vars(batch), "images" in vars(batch)) == (True, False)
    assert "images" in vars(batch.load())
    with pytest.raises(DataError, match="nothing to load from"):
        empty().create_batch(["a"]).load()


def test_a_batch_without_components_has_its_data_dumped_and_loaded(in_tmp):
    batch = Dataset(IDS, preloaded=np.arange(4.0)).create_batch(["b", "d"])
    batch.dump("one.npz").dump("one.parquet").dump("one.npy")
    for name in ("one.npz", "one.parquet"):
        assert Dataset(IDS).create_batch(["d", "b"]).load(name).data.tolist() == [3, 1]
    assert Batch([0, 1]).load("one.npy").data.tolist() == [1, 3]


def test_a_batch_of_any_components_takes_those_of_a_file(in_tmp):
    digits().next_batch(4).dump("all.parquet")
    batch = Dataset(IDS).create_batch(["b"]).load("all.parquet")
    assert batch.components == ("images", "labels", "names")
    check(batch)


def test_errors_of_single_files_are_collected_and_name_the_items(in_tmp):
    digits().next_batch(4).dump("items")
    os.remove("items/b.npz")
    with open("items/c.npz", "wb") as file:
        file.write(b"PK nothing")
    with pytest.raises(ItemsError, match=r"load of Digits failed for 2 of 4 items") as caught:
        empty().next_batch(4).load("items")
    assert "'b': DataError: there is no file 'items/b'" in str(caught.value)
    assert "'c': DataError: 'items/c.npz' can't be read as npz" in str(caught.value)
    digits().next_batch(4).dump("items", "npy", "labels")
    with pytest.raises(ItemsError, match=r"several files for it: .*a.npy', .*a.npz'"):
        empty().create_batch(["a"]).load("items")


def test_what_was_pickled_is_refused(in_tmp):
    np.save("objects.npy", np.array([{}, []] * 2, object), allow_pickle=True)
    with pytest.raises(DataError, match="can't be read as npy"):
        empty().create_batch(["a"]).load("objects.npy", components="labels")
    os.mkdir("items")
    os.rename("objects.npy", "items/a.npy")
    with pytest.raises(ItemsError, match="can't be read as npy"):
        empty().create_batch(["a"]).load("items", components="labels")


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("x.npz", [np.zeros(1), np.zeros(2)], "can't be written as npz"),
        ("x.npy", [{}, {}], "can't be written as npy"),
        ("x.parquet", [object(), object()], "can't be written as parquet"),
    ],
)
def test_what_a_format_can_not_hold_is_refused_and_nothing_is_left(in_tmp, name, values, said):
    with pytest.raises(DataError, match=said):
        Batch([1, 2], preloaded=values).dump(name)
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("fmt", "names", "said"),
    [
        ("png", "labels", "images are uint8"),
        ("npy", None, "npy holds one component, not images, labels, names"),
    ],
)
def test_items_that_a_format_can_not_hold_are_named(in_tmp, fmt, names, said):
    with pytest.raises(ItemsError, match=said):
        digits().next_batch(4).dump("items", fmt, names)


def test_ids_that_are_no_file_names_are_refused(in_tmp):
    with pytest.raises(ItemsError, match=r"'../x' can't be a file's name"):
        Batch(["../x"], preloaded=[1]).dump("items")
    assert os.listdir() == []


def test_one_file_takes_the_place_of_another_only_if_told_to(in_tmp):
    batches = list(digits().gen_batch(2))
    batches[0].dump("all.npz")
    with pytest.raises(DataError, match="is there already"):
        batches[1].dump("all.npz")
    batches[1].dump("all.npz", overwrite=True)
    check(empty().create_batch(["d"]).load("all.npz"))
    for batch in batches:
        batch.dump(lambda one: f"{one.iteration}.npz")
    assert sorted(os.listdir()) == ["0.npz", "1.npz", "all.npz"]


@pytest.mark.parametrize(
    ("src", "options", "said"),
    [
        ("no.csv", {}, "no.csv' can't be read|no file or folder"),
        ("no", {}, "no file or folder 'no'"),
        ("items", {"fmt": "npzz"}, "Did you mean 'npz'"),
        ("all.npz", {"components": "label"}, "Did you mean 'labels'"),
        ("other.npz", {}, "none of the components of Digits"),
        ("other.npz", {"components": "labels"}, "no column 'labels'; it has id, x"),
        ("nulls.csv", {}, "column 'labels': row 1 has no value"),
        ("twice.csv", {}, "an id in two rows"),
    ],
)
def test_what_is_not_there_or_not_known_is_named(in_tmp, src, options, said):
    os.mkdir("items")
    digits().next_batch(4).dump("all.npz")
    np.savez("other.npz", id=IDS, x=np.zeros(4))
    (in_tmp / "nulls.csv").write_text("id,labels\na,1\nb,\nc,3\nd,4\n")
    (in_tmp / "twice.csv").write_text("id,labels\na,1\na,2\n")
    with pytest.raises(DataError, match=said):
        empty().create_batch(["a", "b"]).load(src, **options)

"""Components, items, parts and random numbers of a batch."""

import pickle
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.batches.batch import Batch
from dovetail.data.batches.components import NotLoadedError
from dovetail.data.batches.inbatch import ItemsError
from dovetail.data.batches.inbatch_targets import run_all
from dovetail.data.datasets.dataset import Dataset
from dovetail.errors import DataError, DefinitionError


class Digits(Batch):
    components = "images", "labels"


class Named(Batch):
    components = "name"


def digits(count=4):
    images = np.arange(count * 4.0).reshape(count, 2, 2)
    return Digits([f"n{n}" for n in range(count)], preloaded=(images, np.arange(count)))


def test_components_are_attributes_read_when_asked_for_and_assigned():
    batch = digits()
    assert "labels" not in vars(batch)
    assert batch.labels.tolist() == [0, 1, 2, 3]
    assert batch.labels is batch.labels
    batch.labels = batch.labels + 1
    assert batch[3].labels == 4
    assert list(batch.data) == ["images", "labels"]


def test_one_component_may_be_given_as_text():
    assert Named.components == ("name",)
    assert Named([1], preloaded=["x"]).name == ["x"]


def test_data_is_the_nameless_whole_of_a_batch_without_components():
    batch = Batch([5, 6])
    assert batch.data is None
    batch.data = np.array([1, 2])
    assert batch[1].data == 2
    batch[1].data = 9
    assert batch.data.tolist() == [1, 9]
    assert batch.components is None
    assert Batch(2, preloaded=[3, 4]).indices.tolist() == [0, 1]


def test_several_components_are_assigned_at_once():
    batch = Digits([1, 2])
    batch.data = {"labels": [3, 4]}
    assert batch.data == {"labels": [3, 4]}
    batch.data = ([1, 2], [5, 6])
    assert batch.images == [1, 2]
    with pytest.raises(DataError, match="'label'; .* Did you mean 'labels'"):
        batch.data = {"label": [3, 4]}
    with pytest.raises(DataError, match="a dict by component"):
        batch.data = [1, 2]


def test_what_is_not_loaded_is_said_to_be_so():
    batch = Digits([1, 2])
    with pytest.raises(NotLoadedError, match="no data for its component 'images' yet"):
        _ = batch.images
    assert not hasattr(batch, "images")
    assert not batch.has("images")
    with pytest.raises(AttributeError, match=r"no 'image'. Did you mean 'images'"):
        _ = batch.image
    with pytest.raises(DataError, match="a value for each of its 2 items; it has none"):
        Batch([1, 2]).column()
    batch.images = [1, 2, 3]
    with pytest.raises(DataError, match="component 'images' .* 2 items; it has 3"):
        batch.column("images")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["data"], "an attribute of that name"),
        (["selection"], "an attribute of that name"),
        (["x", "apply"], "'apply' can't be a component of Wrong"),
        (["_x"], "an attribute of that name"),
        (["2d"], "a Python name"),
        (["class"], "a Python name"),
        ([3], "a Python name"),
        (["x", "x"], "'x' twice"),
    ],
)
def test_names_that_can_not_be_components_are_refused(names, said):
    with pytest.raises(DefinitionError, match=said):
        type("Wrong", (Batch,), {"components": names})


def test_a_method_that_would_hide_an_inherited_component_is_refused():
    with pytest.raises(DefinitionError, match="'labels' can't be a component of Wrong"):
        type("Wrong", (Digits,), {"labels": lambda self: self})
    assert type("Fine", (Digits,), {"smooth": lambda self: self}).components == Digits.components


def test_what_it_has_is_listed_where_nothing_is_near():
    with pytest.raises(AttributeError, match="no 'zzz'. Its components are images, labels"):
        _ = digits().zzz


@pytest.mark.parametrize("count", [2, 3])
def test_a_function_for_each_item_needs_the_name_of_a_component(count):
    # With as many items as components the dict of these once passed for the items.
    with pytest.raises(DataError, match="component='images'; it has images, labels"):
        digits(count).apply(lambda value: value)


def test_items_are_seen_through_their_batch():
    batch = digits()
    item = batch["n2"]
    assert (item.id, item.position) == ("n2", 2)
    item.images[:] = 7
    item["labels"] = 9
    assert batch.images[2].tolist() == [[7, 7], [7, 7]]
    assert batch.labels.tolist() == [0, 1, 9, 3]
    assert item.data.keys() == {"images", "labels"}
    assert [one.id for one in batch] == ["n0", "n1", "n2", "n3"]
    assert batch[-1].id == "n3"
    with pytest.raises(IndexError, match="4 items has none at position 4"):
        _ = batch[4]
    with pytest.raises(AttributeError, match="Did you mean 'labels'"):
        _ = item.label
    with pytest.raises(AttributeError, match="Did you mean 'labels'"):
        item.label = 3
    with pytest.raises(IndexError):
        _ = batch[4]


def test_get_gives_an_item_or_a_component_or_both():
    batch = digits()
    assert batch.get("n1", "labels") == 1
    assert batch.get("n1").id == "n1"
    assert batch.get(component="labels").tolist() == [0, 1, 2, 3]
    assert batch.get().keys() == {"images", "labels"}
    with pytest.raises(DataError, match="no item 'n9'"):
        batch.get("n9")
    assert Batch([7, 5], preloaded=[1, 2]).get(5).data == 2
    assert Batch([("a", 1), ("a", 2)], preloaded=[1, 2]).get(("a", 2)).data == 2


def test_a_batch_can_get_components_that_its_class_has_not():
    batch = digits().add_components("masks", np.ones(4)).add_components(["a", "b"], ([1], [2]))
    assert batch.components == ("images", "labels", "masks", "a", "b")
    assert batch[0].masks == 1
    assert Digits.components == ("images", "labels")
    with pytest.raises(DefinitionError, match="twice"):
        batch.add_components("masks")


def test_a_part_has_copies_of_what_is_loaded_and_the_rest_to_be_loaded():
    batch = digits()
    batch.labels = batch.labels * 10
    part = batch[[3, 1]]
    assert part.indices.tolist() == ["n3", "n1"]
    assert part.labels.tolist() == [30, 10]
    assert part.images[0, 0, 0] == 12
    part.labels[:] = 0
    assert batch.labels.tolist() == [0, 10, 20, 30]
    assert batch[1:3].indices.tolist() == ["n1", "n2"]


@given(st.integers(1, 12), st.integers(1, 14), st.booleans())
def test_parts_joined_again_are_the_batch(count, size, loaded):
    batch = digits(count)
    if loaded:
        _ = batch.labels
        batch.images = [np.full(n % 3, n) for n in range(count)]
    parts = batch.split(size)
    assert [len(one) for one in parts[:-1]] == [size] * (len(parts) - 1)
    whole = Digits.merge(parts)
    assert whole.indices.tolist() == batch.indices.tolist()
    assert [one.tolist() for one in whole.images] == [one.tolist() for one in batch.images]
    np.testing.assert_array_equal(whole.labels, batch.labels)
    np.testing.assert_array_equal(whole.seeds, batch.seeds)


def test_joined_batches_of_one_data_set_stay_lazy_and_of_two_do_not():
    one, two = (Dataset(6, Digits, preloaded=(np.arange(6), np.arange(6) * n)) for n in (1, 2))
    same = Digits.merge([one.create_batch([1]), one.create_batch([4])])
    assert "labels" not in vars(same)
    assert (same.labels.tolist(), same.dataset) == ([1, 4], one)
    both = Digits.merge([one.create_batch([1]), two.create_batch([4])])
    assert (both.labels.tolist(), both.dataset) == ([1, 8], None)
    whole = Batch.merge([Batch([1], preloaded=[1.5]), Batch(["a"], preloaded=["x"])])
    assert (whole.data, whole.indices.tolist()) == ([1.5, "x"], [1, "a"])


def test_tensors_and_ragged_values_are_joined_too():
    tensors = [Batch([n], preloaded=torch.full((1, 2), n)) for n in (1, 2)]
    assert Batch.merge(tensors).data.tolist() == [[1, 1], [2, 2]]
    ragged = [Batch([n], preloaded=np.zeros((1, n))) for n in (1, 2)]
    assert [len(one) for one in Batch.merge(ragged).data] == [1, 2]


def test_parts_of_no_item_are_refused():
    with pytest.raises(DataError, match="1 or more; got 0"):
        digits().split(0)


def test_batches_of_different_components_are_not_joined():
    other = digits().add_components("masks", np.zeros(4))
    with pytest.raises(DataError, match=r"the same components; got \['images', 'labels'\] and"):
        Digits.merge([digits(), other])


@pytest.mark.parametrize("components", [None, ["x"]])
def test_threads_that_ask_for_a_component_at_once_get_the_same_array(components):
    class Slow:
        names = tuple(components or ())

        def __len__(self):
            return 64

        def take(self, name, numbers):
            time.sleep(0.01)
            return np.zeros(len(numbers))

    def write(item):
        if components:
            item.x = 1
        else:
            item.data = 1

    batch = Batch(np.arange(64), preloaded=Slow())
    run_all(write, [((item,), {}) for item in batch], "threads")
    assert (batch.column(components and "x") == 1).all()


@pytest.mark.parametrize("batches", [[], [Digits([1]), Batch([2])]])
def test_batches_of_different_classes_or_none_are_not_joined(batches):
    with pytest.raises(DataError, match=r"Digits.merge joins batches of that class"):
        Digits.merge(batches)


def test_random_numbers_of_an_item_do_not_depend_on_its_batch():
    dataset = Dataset([f"n{n}" for n in range(20)])

    def drawn(size, shuffle):
        found = {}
        for batch in dataset.gen_batch(size, n_epochs=2, shuffle=shuffle, seed=4):
            one, two = batch.uniform(-1, 1, (2,)), batch.integers(0, 1000)
            for at, (item, epoch) in enumerate(zip(batch, batch.epochs.tolist(), strict=True)):
                own = [item.random().random(), item.random().random()]
                found[item.id, epoch] = (*one[at].tolist(), int(two[at]), *own)
        return found

    expected = drawn(20, False)
    assert len(set(expected.values())) == 40
    assert expected == drawn(3, True) == drawn(7, 9)


def test_each_use_of_random_numbers_gets_others():
    batch = Batch([1, 2])
    found = [batch.uniform()[0], batch.uniform()[0], batch[0].random().random()]
    found += [batch.random(0).random(), batch.random(-2).random()]
    assert len(set(map(float, found))) == 5
    batch.next_draw()
    assert batch.random(0).random() not in found


def test_a_batch_travels_without_pipeline_and_data_set_and_is_attached_again():
    dataset = Dataset(10, Digits, preloaded=(np.arange(10), np.arange(10) * 2))
    batch = dataset.create_batch([3, 4], pipeline=object())
    batch.images += 100
    batch.uniform()
    came = pickle.loads(pickle.dumps(batch))
    assert (came.dataset, came.pipeline) == (None, None)
    assert came.images.tolist() == [103, 104]
    assert not came.has("labels")
    came.attach(dataset, None)
    assert came.labels.tolist() == [6, 8]
    np.testing.assert_array_equal(came.uniform(), batch.uniform())
    own = pickle.loads(pickle.dumps(digits()))
    assert own.labels.tolist() == [0, 1, 2, 3]


def test_a_function_is_applied_to_each_item_or_to_the_whole():
    batch = digits()
    assert batch.apply(lambda x, by: x * by, 3, component="labels").labels.tolist() == [0, 3, 6, 9]
    batch.apply(np.mean, component="images", to="labels")
    assert batch.labels.tolist() == [1.5, 5.5, 9.5, 13.5]
    batch.apply(lambda x: x[:, 0], component="images", whole=True, to="labels")
    assert batch.labels.shape == (4, 2)
    assert Batch([1, 2], preloaded=["a", "b"]).apply(str.upper).data == ["A", "B"]
    with pytest.raises(DataError, match="Did you mean 'images'"):
        batch.apply(np.mean, component="image")
    with pytest.raises(ItemsError, match=r"failed for 4 of 4 items"):
        batch.apply(lambda x: 1 / 0, component="images")


def test_models_are_the_pipelines():
    class Pipe:
        def get_model_by_name(self, name, batch):
            return name, batch

    batch = Batch([1], pipeline=Pipe())
    assert batch.get_model_by_name("net") == ("net", batch)
    with pytest.raises(DataError, match="no pipeline, so there is no model 'net'"):
        Batch([1]).get_model_by_name("net")


def test_a_value_is_shown_by_a_few_of_its_items():
    assert repr(digits(6)) == "Digits(6 items: 'n0', 'n1', 'n2', 'n3', ...)"
    assert "Item('n1' of Digits" in repr(digits()[1])

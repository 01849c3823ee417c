"""Values that are named in a pipeline and looked up for each batch."""

from typing import NamedTuple

import numpy as np
import pytest

from dovetail.data.batches.actions import action
from dovetail.data.batches.batch import Batch
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.pipeline.named import (
    Component,
    Config,
    Function,
    Random,
    Variable,
    has_named,
    resolved,
)
from dovetail.data.pipeline.pipeline import Pipeline
from dovetail.errors import ParamsError


class Pair(NamedTuple):
    one: object
    other: object


class Named(Batch):
    components = ("x", "y")

    @action
    def keep(self, into, value, **more):
        into.append((value, more) if more else value)
        return self


def data(count=4):
    return Dataset(count, Named, preloaded={"x": np.arange(count)})


def got(value, config=None, size=4, **options):
    found = []
    pipeline = data().pipeline(config or {}).init_variable("v", 7).keep(found, value)
    pipeline.run(size, **options)
    return found


def test_each_kind_is_found_for_the_batch_at_hand():
    assert [one.tolist() for one in got(Component("x"), size=2)] == [[0, 1], [2, 3]]
    assert all(isinstance(one, Named) for one in got(Component()))
    assert got(Variable("v")) == [7]
    assert got(Config("a.b"), {"a": {"b": 3}}) == [3]
    assert got(Function(lambda batch, n: len(batch) + n, Variable("v"))) == [11]


def test_what_is_in_lists_dicts_and_keywords_is_found_too():
    assert got([1, (Variable("v"), 2)]) == [[1, (7, 2)]]
    assert got({"k": Variable("v")}) == [{"k": 7}]
    found = []
    data().p.init_variable("v", 7).keep(found, 1, n=Variable("v")).run(4)
    assert found == [(1, {"n": 7})]
    assert got(Pair(Variable("v"), 2)) == [Pair(7, 2)]
    plain = [1, 2]
    assert resolved(plain, None, None) is plain  # pyright: ignore[reportArgumentType]
    assert not has_named("text")


def test_a_config_without_the_entry_is_refused_with_the_nearest():
    with pytest.raises(ParamsError, match=r"no 'net.widht'. Did you mean 'width'"):
        got(Config("net.widht"), {"net": {"width": 3}})
    with pytest.raises(ParamsError, match="no 'a.b'"):
        got(Config("a.b"), {"a": 3})
    assert got(Config("a.b", default=5)) == [5]
    assert got(Config("a", default=None)) == [None]


def test_an_unknown_component_is_refused_with_the_nearest():
    with pytest.raises(AttributeError, match="Did you mean"):
        got(Component("xx"))


@pytest.mark.parametrize("depth", [0, 3])
def test_random_values_are_of_the_seed_and_the_batch_alone(depth):
    value = Random("uniform", (-30, 30), size="items")
    whole = got(value, size=1, seed=5)
    assert len({float(one[0]) for one in whole}) == 4
    assert all(-30 <= one[0] <= 30 for one in whole)
    again = got(value, size=1, seed=5, prefetch=depth)
    assert sorted(float(one[0]) for one in again) == sorted(float(one[0]) for one in whole)
    assert got(value, size=1, seed=6)[0] != whole[0]
    assert got(Random("uniform", (-30, 30), size="items", salt=1), size=1, seed=5)[0] != whole[0]


def test_random_values_have_the_size_asked_for():
    assert np.ndim(got(Random("normal"))[0]) == 0
    assert got(Random("integers", (0, 9), size=(2, 3)))[0].shape == (2, 3)
    assert got(Random("uniform", size="items"))[0].shape == (4,)


def test_random_values_that_make_no_sense_are_refused():
    with pytest.raises(ParamsError, match="Did you mean 'uniform'"):
        Random("unifrom")
    with pytest.raises(ParamsError, match='"items"'):
        Random(size="all")
    with pytest.raises(ParamsError, match="function of the batch"):
        Function("len")  # pyright: ignore[reportArgumentType]


def test_a_place_to_save_to_is_a_component_or_a_variable():
    pipeline = data().p.init_variable("v", 0)
    batch = next(pipeline.gen_batch(2))
    Component("y").set(batch, pipeline, [1, 2])
    Variable("v").set(batch, pipeline, 3)
    assert batch.y == [1, 2]
    assert pipeline.get_variable("v") == 3
    for fixed in (Config("k"), Random(), Component(), Function(len)):
        with pytest.raises(ParamsError, match="only read"):
            fixed.set(batch, pipeline, 1)


def test_named_values_are_shown_in_the_description():
    assert "keep(Variable(name='v'))" in Pipeline().keep(Variable("v")).describe()

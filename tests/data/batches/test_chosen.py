"""What of a batch is meant, and where results go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dovetail import Batch, Dataset, action
from dovetail.data.batches.chosen import chosen, pair
from dovetail.data.pipeline.named import Component, Variable
from dovetail.data.pipeline.saved import as_arrays
from dovetail.errors import DataError, ParamsError


class Named(Batch):
    components = "x", "label", "made"

    @action
    def counted(self, value: object = None, save_to: Variable | None = None):
        assert save_to is not None
        save_to.set(self, self.pipeline, (value, len(self)))
        return self


def dataset() -> Dataset:
    return Dataset(5, Named, preloaded={"x": np.arange(5), "label": np.arange(5)[:, None]})


def test_arrays_and_numbers_are_meant_as_they_stand():
    batch = next(dataset().gen_batch(2))
    array = np.ones(2)
    assert chosen(array, batch, None) is array
    assert chosen({"a": 3, "b": None}, batch, None) == {"a": 3, "b": None}
    tensor = torch.ones(2)
    assert chosen(tensor, batch, None) is tensor


def test_labels_by_name_are_flat_and_left_out_where_they_are_not_wanted():
    batch = next(dataset().gen_batch(3))
    features, labels = pair(None, None, batch, None)
    assert list(features) == ["x"]
    assert labels.tolist() == [0, 1, 2]
    assert pair(None, None, batch, None, labelled=False)[1] is None
    only = Batch([1], preloaded={"label": np.ones(1)})
    with pytest.raises(DataError, match="nothing but label"):
        pair(None, None, only, None)
    with pytest.raises(DataError, match="has no data"):
        pair(None, None, Batch([1]), None)


def test_save_to_is_given_to_any_action_as_it_stands():
    pipeline = dataset().p.init_variable("seen", []).init_variable("n", 4)
    pipeline = pipeline.counted(Variable("n"), save_to=Variable("seen", "append")).run(2)
    assert pipeline.get_variable("seen") == [(4, 2), (4, 2), (4, 1)]


def test_a_component_that_the_class_has_not_is_no_place_to_save_to():
    batch = next(dataset().gen_batch(2))
    Component("made").set(batch, None, [1, 2])  # type: ignore[arg-type]
    assert batch.made == [1, 2]
    with pytest.raises(DataError, match="no component 'mode'.*Did you mean 'made'"):
        Component("mode").set(batch, None, [1, 2])  # type: ignore[arg-type]
    with pytest.raises(ParamsError, match="Did you mean 'append'"):
        Variable("x", "apend")


def test_results_become_arrays_and_numbers():
    made = as_arrays({"a": torch.ones(2, dtype=torch.bfloat16), "b": [torch.tensor(2)], "c": "t"})
    assert made["a"].dtype == np.float32
    assert made["b"] == [2]
    assert made["c"] == "t"

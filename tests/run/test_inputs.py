"""Whatever a user gives becomes batches from a position on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dovetail.data.mixing import Mixed
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.definition.definition import load
from dovetail.definition.hparams import HParams
from dovetail.definition.modes import ModeKeys
from dovetail.errors import DataError, DefinitionError
from dovetail.run.config import RunConfig
from dovetail.run.inputs import IterableInput, RecordInput, open_input, split_pair


def opened(source: Any, mode: str = ModeKeys.TRAIN, **kwargs: Any) -> Any:
    def model_fn(features, labels, mode, params):
        raise AssertionError

    values = {"params": HParams(a=1), "config": RunConfig(), "batch_size": 8, **kwargs}
    return open_input(source, load(model_fn), mode, **values)


def test_records_go_on_from_any_position_with_the_same_batches(records: Path):
    whole = list(opened(records, epochs=2, seed=4).batches(0))
    assert [fed.count for fed in whole] == [8] * 9 + [2]
    assert [fed.position_after for fed in whole] == [*range(8, 73, 8), 74]
    for start in (0, 8, 40, 72):
        rest = list(opened(records, epochs=2, seed=4).batches(start))
        assert len(rest) == len(whole) - start // 8
        for one, other in zip(rest, whole[start // 8 :], strict=True):
            assert torch.equal(one.features["x"], other.features["x"])
            assert torch.equal(one.labels, other.labels)
            assert one.position_after == other.position_after
    assert list(opened(records, epochs=2, seed=4).batches(74)) == []


def test_every_epoch_has_each_example_once_in_another_order(records: Path):
    source = opened(records, epochs=2, batch_size=37)
    one, two = [fed.features["x"] for fed in source.batches(0)]
    assert not torch.equal(one, two)
    assert torch.equal(one.sort(0).values, two.sort(0).values)
    assert source.total == 74
    assert source.positioned


def test_evaluation_keeps_the_order_of_the_records(records: Path, table: dict[str, np.ndarray]):
    (fed,) = opened(records, ModeKeys.EVAL, batch_size=99).batches(0)
    assert np.array_equal(fed.features["x"].numpy(), table["x"])


def test_a_limit_gives_the_same_few_examples_each_epoch(records: Path):
    limited = opened(records, limit=10, epochs=2)
    found = torch.cat([fed.features["x"] for fed in limited.batches(0)])
    assert found.shape == (20, 5)
    assert torch.equal(found[:10], found[10:])
    assert len(found.unique(dim=0)) == 10
    assert len(next(opened(records, limit=99, batch_size=99).batches(0)).labels) == 37


def test_records_repeat_for_ever_without_epochs(records: Path):
    source = opened(records, epochs=None)
    assert source.total is None
    batches = source.batches(0)
    assert [next(batches).count for _ in range(12)] == [8] * 12
    batches.close()


def test_a_batch_of_records_is_described_by_its_rows(records: Path, table: dict[str, np.ndarray]):
    source = opened(records, batch_size=3)
    second = list(source.batches(0))[1]
    said = source.describe(3, 3)
    assert said.endswith(f" of {records}")
    rows = [int(word) for word in said.removeprefix("rows ").split(" of ")[0].split(", ")]
    assert np.array_equal(table["x"][rows], second.features["x"].numpy())
    assert " and 4 more of " in source.describe(0, 12)


def test_an_input_fn_gets_what_it_asks_for(records: Path):
    seen = []

    def input_fn(config, params, mode):
        seen.append((params.a, mode, config.seed))
        return records

    assert isinstance(opened(input_fn, ModeKeys.EVAL), RecordInput)
    assert seen == [(1, ModeKeys.EVAL, 0)]
    assert isinstance(opened(lambda: Records(records)), RecordInput)
    assert isinstance(opened(lambda params: [({}, None)]), IterableInput)


def test_an_input_fn_that_wants_something_else_is_refused():
    def input_fn(parms):
        return []

    with pytest.raises(DefinitionError, match=r"input_fn.*wants an argument 'parms'.*'params'"):
        opened(input_fn)


class Pairs(torch.utils.data.IterableDataset):
    def __iter__(self):
        for _ in range(2):
            yield torch.ones(4, 2), torch.zeros(4)


@pytest.mark.parametrize(
    "source",
    [
        lambda: [(np.ones((4, 2)), np.zeros(4))] * 2,
        lambda: ((torch.ones(4, 2), torch.zeros(4)) for _ in range(2)),
        lambda: torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(torch.ones(8, 2), torch.zeros(8)), batch_size=4
        ),
        Pairs,
        [(np.ones((4, 2)), np.zeros(4))] * 2,
    ],
    ids=["list", "generator", "DataLoader", "IterableDataset", "an iterable itself"],
)
def test_any_iterable_of_pairs_is_an_input(source: Any):
    made = opened(source)
    assert not made.positioned
    found = list(made.batches(100))
    assert [fed.position_after for fed in found] == [104, 108]
    for fed in found:
        assert isinstance(fed.features, torch.Tensor)
        assert fed.features.shape == (4, 2)
        assert fed.labels.tolist() == [0, 0, 0, 0]
    assert made.describe(104, 4).startswith("examples 4 to 7 of ")


def test_one_pair_of_tensors_is_one_batch():
    (fed,) = opened(lambda: ({"x": torch.ones(3, 1)}, torch.zeros(3))).batches(0)
    assert (fed.count, fed.features["x"].shape) == (3, (3, 1))


@pytest.mark.parametrize("wrong", [3, None, {"x": 1}, torch.ones(3)])
def test_what_is_no_input_is_refused_with_what_is(wrong: Any):
    with pytest.raises(DataError, match=r"input_fn .* returned (an? |None).*It must return an it"):
        opened(lambda: wrong)


def test_a_batch_is_a_pair_or_features_alone():
    assert split_pair((1, 2), "input_fn", labelled=True) == (1, 2)
    assert split_pair((1, 2), "input_fn", labelled=False) == (1, None)
    assert split_pair([1], "input_fn", labelled=True) == (1, None)
    assert split_pair({"x": 1}, "input_fn", labelled=True) == ({"x": 1}, None)
    with pytest.raises(DataError, match="a tuple of 3 items .* features into one dict"):
        split_pair((1, 2, 3), "input_fn", labelled=True)


def test_no_batch_at_all_is_refused():
    with pytest.raises(DataError, match="input_fn gave None for a batch.*Is its `return` there"):
        split_pair(None, "input_fn", labelled=True)


def test_a_batch_without_a_first_dimension_is_refused():
    with pytest.raises(DataError, match="examples can't be counted"):
        list(opened(lambda: [({"x": torch.tensor(1.0)}, None)]).batches(0))


def test_labels_need_not_be_given_to_predict(records: Path, tmp_path: Path):
    model = tmp_path / "model.py"
    model.write_text(
        "import torch\nfrom dovetail import optimizers\n"
        "def model():\n    return torch.nn.Linear(5, 3)\n"
        "def data_schema():\n    return [{'name': 'x', 'shape': [5], 'dtype': 'float32'}]\n"
        "def input_fn(records, mode):\n"
        "    if mode == 'infer':\n        return records['x']\n"
        "    return records['x'], records['label']\n"
        "def loss(output, labels):\n    return output.mean()\n"
        "def optimizer():\n    return optimizers.SGD(0.1)\n"
        "def eval_metrics_fn(predictions, labels):\n    return {}\n"
        "def prepare_data_for_a_single_file(filename):\n    return ()\n"
    )
    values = {"params": HParams(), "config": RunConfig(), "batch_size": 8}
    definition = load(model)
    predicted = next(open_input(records, definition, ModeKeys.PREDICT, **values).batches(0))
    assert predicted.labels is None
    assert predicted.features.shape == (8, 5)
    trained = next(open_input(records, definition, ModeKeys.TRAIN, **values).batches(0))
    assert trained.labels.shape == (8, 1)


def test_records_without_labels_can_be_predicted_but_not_trained_on(
    tmp_path: Path, table: dict[str, np.ndarray]
):
    schema = Schema([Field("x", (5,), "float32")])
    with RecordWriter(tmp_path / "unlabelled", schema) as writer:
        for x in table["x"]:
            writer.append({"x": x})

    def model_fn(features, labels, mode):
        raise AssertionError

    both = Schema([Field("x", (5,), "float32"), Field("label", (1,), "int64")])
    definition = replace(load(model_fn), schema=both)
    values = {"params": HParams(), "config": RunConfig(), "batch_size": 37}
    source = open_input(tmp_path / "unlabelled", definition, ModeKeys.PREDICT, **values)
    (fed,) = source.batches(0)
    assert fed.features.keys() == {"x"}
    with pytest.raises(DefinitionError, match="'label' is not in the records"):
        open_input(tmp_path / "unlabelled", definition, ModeKeys.TRAIN, **values)


def test_a_path_that_is_none_says_so(tmp_path: Path, make: Callable[..., Any]):
    with pytest.raises(DataError, match="nowhere"):
        opened(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nowhere"):
        make().train(tmp_path / "nowhere")


def test_a_mixture_is_an_input_that_goes_on_from_any_position(records: Path):
    one = Records(records)
    half = one.select(range(len(one) // 2))

    def make():
        return Mixed({"whole": one, "half": half}, {"whole": 1, "half": 1})

    stop = 4 * 8
    whole = [fed.features["x"] for fed in opened(make(), seed=3).batches(0)][:4]
    rest = [fed.features["x"] for fed in opened(lambda: make(), seed=3).batches(stop // 2)][:2]
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[2:], strict=True))
    assert sum(len(batch) for batch in whole) == stop
    assert str(one.path) in opened(make(), seed=3).describe(0, 8)
    limited = opened(make(), limit=5, epochs=2)
    assert len([fed.count for fed in limited.batches(0)]) == 2
    assert opened(make()).total == len(one) + len(half)

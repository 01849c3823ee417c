"""The first batches before a run: what is found, and that nothing is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dovetail
from dovetail.errors import CheckpointError, DataError, DefinitionError, ParamsError
from dovetail.run.config import RunConfig
from dovetail.run.rehearsal import rehearse
from dovetail.run.resolve import Resolved, resolve

DRAWN: list[str] = []


def model_fn(features, labels, mode, params):
    output = dovetail.layers.fully_connected(features["x"], 2, activation_fn=None)
    if mode == dovetail.ModeKeys.PREDICT:
        return dovetail.EstimatorSpec(mode, {"y": output})
    loss = torch.nn.functional.cross_entropy(output, labels)
    train_op = dovetail.optimizers.SGD(0.1).minimize(loss)
    return dovetail.EstimatorSpec(mode, {"y": output}, loss, train_op)


def input_fn(mode):
    for _ in range(3):
        DRAWN.append(mode)
        yield {"x": torch.zeros(6, 3)}, torch.zeros(6, dtype=torch.int64)


def resolved(function=model_fn, **config) -> Resolved:
    return resolve(dovetail.load(function), config=RunConfig(**config))


def test_each_mode_takes_one_batch_and_says_its_shapes():
    DRAWN.clear()
    modes = ("train", "eval", "infer")
    done = rehearse(resolved(), [(mode, input_fn) for mode in modes])
    assert list(modes) == DRAWN == [found.mode for found in done]
    assert done[0].shapes["features.x"] == "[6, 3] float32"
    assert done[0].shapes["labels"] == "[6] int64"
    assert done[2].shapes["predictions.y"] == "[6, 2] float32"
    assert done[0].loss == pytest.approx(torch.tensor(2.0).log())
    assert (done[2].loss, done[0].parameters, done[0].examples) == (None, 8, 6)


def test_the_callers_generators_are_left_alone():
    before = torch.random.get_rng_state()
    rehearse(resolved(), [("train", input_fn)])
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_definition_that_breaks_its_contract_is_refused():
    def other(features, labels, mode):
        return dovetail.EstimatorSpec(mode, features["x"])

    with pytest.raises(DefinitionError, match="no loss"):
        rehearse(resolved(other), [("train", input_fn)])


def test_labels_out_of_range_are_named_with_the_batch():
    def wrong():
        return [({"x": torch.zeros(6, 3)}, torch.full((6,), 5))]

    with pytest.raises(DataError, match="labels from 5 to 5"):
        rehearse(resolved(), [("train", wrong)])


def test_a_checkpoint_of_another_definition_is_refused_and_one_that_fits_is_not(tmp_path: Path):
    def wider(features, labels, mode):
        output = dovetail.layers.fully_connected(features["x"], 3, activation_fn=None)
        loss = torch.nn.functional.cross_entropy(output, labels)
        return dovetail.EstimatorSpec(
            mode, output, loss, dovetail.optimizers.SGD(0.1).minimize(loss)
        )

    config = RunConfig(str(tmp_path), progress=False, unpositioned_input="fast_forward")
    dovetail.Estimator(model_fn, config=config).train(input_fn, max_steps=1)
    for mode in ("train", "eval", "infer"):
        rehearse(resolved(model_dir=str(tmp_path)), [(mode, input_fn)])
    with pytest.raises(CheckpointError, match="of another shape"):
        rehearse(resolved(wider, model_dir=str(tmp_path)), [("train", input_fn)])


def test_an_empty_input_is_refused():
    with pytest.raises(DataError, match="gave no batch"):
        rehearse(resolved(), [("train", lambda: [])])


@pytest.mark.parametrize("mode", ["train", "eval", "infer"])
def test_compiling_compiles_each_mode(monkeypatch: pytest.MonkeyPatch, mode: str):
    graphs: list[object] = []

    def backend(graph, example):
        graphs.append(graph)
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda m, **kw: real(m, backend=backend, **kw))
    rehearse(resolved(), [(mode, input_fn)], compiled=True)
    assert len(graphs) == 1
    rehearse(resolved(), [(mode, input_fn)])
    assert len(graphs) == 1


def test_compiling_an_eager_run_is_refused():
    with pytest.raises(ParamsError, match="'eager' \\(Python call\\)"):
        rehearse(resolved(execution="eager"), [("train", input_fn)], compiled=True)

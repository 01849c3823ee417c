"""The controls of training through an Estimator: a resume with all of them on, and what is said."""

import re
from pathlib import Path

import pytest
import torch

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import DefinitionError, NanLossError
from dovetail.run import checkpoint
from dovetail.run.bad_batch import load_batch
from dovetail.run.summaries import read_scalars
from dovetail.run.warm_start import WarmStart

ALL = {
    "precision": "fp16",
    "ema_decay": 0.9,
    "parts": 3,
    "freeze": "fully_connected.bias",
    "recompute": ["fully_connected", "batch_norm"],
    "save_checkpoints_steps": 3,
    "save_summary_steps": 1,
    "seed": 3,
}


@pytest.mark.parametrize("stops", [(1, 8), (3, 5)])
def test_a_resume_with_every_control_is_the_run_in_one(stops, make, records, assert_same_state):
    whole = make("whole", **ALL).train(records, max_steps=9)
    for stop in (*stops, 9):
        make("again", **ALL).train(records, max_steps=stop)
    again = make("again", **ALL)
    assert_same_state(whole, again)
    kept = checkpoint.load(checkpoint.latest(again.model_dir))
    assert any(name.startswith("average/") for name in kept.optimizer)
    ours, theirs = again.evaluate(records), whole.evaluate(records)
    assert ours == theirs
    scales = [value for _, value in read_scalars(again.model_dir)["loss_scale"]]
    assert len(scales) == 9
    assert scales == [value for _, value in read_scalars(whole.model_dir)["loss_scale"]]


def test_evaluation_is_by_averages_that_were_kept_without_being_told(make, records):
    make(ema_decay=0.9).train(records, max_steps=5)
    plain = make()
    assert plain.evaluate(records) == make(ema_decay=0.9).evaluate(records)
    assert make("plain").train(records, max_steps=5).evaluate(records) != plain.evaluate(records)


def exploding(features, labels, mode, params):
    h = layers.layer(torch.nn.Linear, 5, 4, name="body")(features["x"])
    h = layers.layer(torch.nn.Linear, 4, 3, name="head")(h * 1e20)
    loss = torch.nn.functional.cross_entropy(h * h, labels)
    return dovetail.EstimatorSpec(mode, h, loss, optimizers.SGD(1.0).minimize(loss))


@pytest.mark.parametrize("checks", ["loss", "all"])
def test_a_loss_that_is_not_finite_names_its_place_and_keeps_its_batch(checks, make, records):
    estimator = make("run", exploding, finite_checks=checks, seed=1)
    with pytest.raises(NanLossError) as caught:
        estimator.train(records, max_steps=20)
    text = str(caught.value)
    assert "in the loss's own computation" in text
    (path,) = re.findall(r"The batch is saved in (\S+\.safetensors)", text)
    features, labels = load_batch(path)
    assert features["x"].shape == (8, 5)
    assert labels.shape == (8,)
    assert Path(path).name == f"{caught.value.step:010}.safetensors"
    kept = checkpoint.load(estimator.latest_checkpoint())
    assert kept.step == 0
    again = make("other", exploding, seed=1)
    with pytest.raises(NanLossError):
        again.train([(features, labels)], max_steps=1)


def test_a_new_run_begins_with_anothers_parameters_and_a_resumed_one_does_not(
    make, records, capsys
):
    old = make("old", seed=1)
    old.train(records, max_steps=4)
    warm = {"warm_start_from": WarmStart(old.model_dir, ("fully_connected*",)), "seed": 2}
    new = make("new", save_checkpoints_steps=1, **warm)
    new.train(records, max_steps=1)
    first = checkpoint.load(checkpoint.listed(new.model_dir)[0])
    theirs = checkpoint.load(old.latest_checkpoint()).model
    assert first.step == 0
    taken = [n for n, tensor in first.model.items() if torch.equal(tensor, theirs[n])]
    for name in first.model:
        assert name in taken or not name.startswith("fully_connected"), name
    assert "batch_norm.running_mean" not in taken
    make("new", **warm).train(records, max_steps=2)
    said = capsys.readouterr().err
    assert "Warm start from" in said
    assert "4 of 9 tensors taken" in said
    assert "goes on from its own checkpoint" in said


def test_a_pattern_that_means_nothing_ends_a_run_before_it_begins(make, records):
    for setting in ({"freeze": "fully_conected.*"}, {"recompute": "block_7"}):
        with pytest.raises(DefinitionError, match="matches no"):
            make("run", **setting).train(records, max_steps=1)

"""A new run begins with another run's parameters, and says which."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import CheckpointError
from dovetail.run import checkpoint, warm_starting
from dovetail.run.saving import save
from dovetail.run.warm_start import WarmStart

X = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(1))


def model_of(width=7, names=("encoder", "norm", "head")):
    def model_fn(features, labels, mode):
        h = layers.layer(nn.Linear, 5, width, name=names[0])(features)
        h = torch.tanh(layers.layer(nn.BatchNorm1d, width, name=names[1])(h))
        output = layers.layer(nn.Linear, width, 1, name=names[2])(h)
        loss = F.mse_loss(output, labels)
        return dovetail.EstimatorSpec(mode, output, loss, optimizers.Adam(0.1).minimize(loss))

    return model_fn


def built(seed=0, ema_decay=None, **settings):
    return dovetail.build(
        model_of(**settings), example=(X, Y), device="cpu", seed=seed, ema_decay=ema_decay
    )


@pytest.fixture
def old(tmp_path):
    """A trained program and its model_dir."""
    program = built(seed=1, ema_decay=0.5)
    for _ in range(3):
        program.train_step(X, Y)
    save(program, tmp_path / "old")
    return program, tmp_path / "old"


def copied(program):
    return {name: tensor.clone() for name, tensor in program.state().items()}


def test_all_of_a_run_is_taken_and_said(old):
    program, folder = old
    new, notes = built(seed=2), []
    warm_starting.apply(new, WarmStart(str(folder), averages=False), notes.append)
    for name, tensor in program.state().items():
        assert torch.equal(new.state()[name], tensor), name
    (note,) = notes
    assert "9 of 9 tensors taken" in note
    assert "step 3" in note


def test_a_checkpoint_and_a_file_of_tensors_do_too(old):
    program, folder = old
    path = checkpoint.latest(folder)
    for given in (path, path / "model.safetensors"):
        new = built(seed=2)
        warm_starting.apply(new, WarmStart(str(given), averages=False), print)
        assert torch.equal(new.state()["head.weight"], program.state()["head.weight"])


def test_averages_are_taken_where_there_are_any(old):
    program, folder = old
    new, notes = built(seed=2, ema_decay=0.5), []
    warm_starting.apply(new, str(folder), notes.append)
    averages = program.averages.state()
    for name, tensor in new.state().items():
        assert torch.equal(tensor, averages.get(name, program.state()[name])), name
    assert "the averages of" in notes[0]
    assert torch.equal(new.averages.state()["head.weight"], averages["head.weight"])


def test_patterns_choose_and_the_rest_stays(old):
    program, folder = old
    new, notes = built(seed=2), []
    before = copied(new)
    wanted = WarmStart(str(folder), ("encoder.*",), averages=False)
    warm_starting.apply(new, wanted, notes.append)
    assert torch.equal(new.state()["encoder.weight"], program.state()["encoder.weight"])
    assert torch.equal(new.state()["head.weight"], before["head.weight"])
    assert "2 of 9" in notes[0]
    assert "Not asked for: norm.weight" in notes[0]


def test_renames_find_what_is_called_otherwise(old):
    program, folder = old
    new, notes = built(seed=2, names=("body", "norm", "top")), []
    wanted = WarmStart(str(folder), renames={"body.*": "encoder.*"}, averages=False)
    warm_starting.apply(new, wanted, notes.append)
    assert torch.equal(new.state()["body.bias"], program.state()["encoder.bias"])
    assert "Not there: top.weight, top.bias" in notes[0]


def test_other_shapes_are_all_listed_and_left_out_on_demand(old):
    _, folder = old
    new, notes = built(width=9), []
    before = copied(new)
    with pytest.raises(CheckpointError) as error:
        warm_starting.apply(new, str(folder), notes.append)
    for part in ("encoder.weight is [9, 5] here and [7, 5] there", "head.weight is [1, 9] here"):
        assert part in str(error.value)
    for name, tensor in before.items():
        assert torch.equal(new.state()[name], tensor), name
    warm_starting.apply(new, WarmStart(str(folder), skip_mismatched=True), notes.append)
    assert "Of another shape: encoder.weight" in notes[0]
    assert not torch.equal(new.state()["head.bias"], before["head.bias"])


def test_a_run_that_has_a_checkpoint_goes_on_from_that(old):
    _, folder = old
    new, notes = built(seed=2), []
    before = copied(new)
    warm_starting.apply(new, "no/such/folder", notes.append, newest=checkpoint.latest(folder))
    assert torch.equal(new.state()["head.weight"], before["head.weight"])
    assert "is not used" in notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variables": ("encodr.*",)}, "'encodr.*', which matches nothing here"),
        ({"renames": {"bod.*": "encoder.*"}}, "no 'bod.*' here"),
        ({"renames": {"encoder.*": "body.*"}}, "no 'body.*' in the checkpoint"),
    ],
)
def test_names_that_mean_nothing_are_refused(old, change, message):
    _, folder = old
    with pytest.raises(CheckpointError, match=re.escape(message)):
        warm_starting.apply(built(), WarmStart(str(folder), **change), print)


def test_nothing_to_take_and_nothing_there_are_refused(old, tmp_path):
    _, folder = old
    with pytest.raises(CheckpointError, match="there is no checkpoint at .*empty"):
        warm_starting.apply(built(), str(tmp_path / "empty"), print)
    with pytest.raises(CheckpointError, match="nothing of .* has a name"):
        warm_starting.apply(built(names=("a", "b", "c")), str(folder), print)

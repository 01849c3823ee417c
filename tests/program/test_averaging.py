"""Averages of the parameters: right, swapped in without a copy, and out of training's way."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import DefinitionError
from dovetail.program.averaging import Averages
from dovetail.run import checkpoint, saving

DECAY = 0.9


def model_fn(features, labels, mode):
    h = layers.layer(nn.Linear, 5, 7, name="body")(features)
    h = layers.layer(nn.BatchNorm1d, 7, name="norm")(h)
    output = layers.layer(nn.Linear, 7, 1, name="head")(layers.dropout(h, 0.9))
    if mode == dovetail.ModeKeys.PREDICT:
        return dovetail.EstimatorSpec(mode, output)
    loss = F.mse_loss(output, labels)
    return dovetail.EstimatorSpec(mode, output, loss, optimizers.Adam(0.05).minimize(loss))


def batches(steps, start=0):
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 5, generator=generator)
        yield x, torch.randn(8, 1, generator=generator)


X, Y = next(batches(1))


def built(**settings):
    settings = {"ema_decay": DECAY, **settings}
    return dovetail.build(model_fn, example=(X, Y), device="cpu", **settings)


def trained(program, stop, start=0, **settings):
    for x, y in batches(stop, start):
        program.train_step(x, y, **settings)
    return program


def parameters(program):
    return {name: p.detach().clone() for name, p in program.network.named_parameters()}


def assert_same(ours, theirs):
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_averages_are_those_taken_by_hand():
    program = built()
    wide = {name: p.double() for name, p in parameters(program).items()}
    for x, y in batches(20):
        program.train_step(x, y)
        for name, p in parameters(program).items():
            wide[name] = DECAY * wide[name] + (1 - DECAY) * p.double()
    averages = program.averages.state()
    assert list(averages) == list(wide)
    for name, average in averages.items():
        torch.testing.assert_close(average.double(), wide[name], rtol=1e-5, atol=1e-7)
    assert not torch.equal(averages["head.weight"], program.state()["head.weight"])


def test_training_is_the_same_with_and_without():
    assert_same(trained(built(), 6).state(), trained(built(ema_decay=None), 6).state())
    assert built(ema_decay=None).averages is None


def test_evaluation_and_prediction_use_the_averages():
    program = trained(built(), 6)
    by_hand = built(ema_decay=None)
    by_hand.network.load_state_dict({**program.state(), **program.averages.state()})
    by_hand.global_step = 6
    ours, theirs = program.eval_step(X, Y), by_hand.eval_step(X, Y)
    assert torch.equal(ours["loss"], theirs["loss"])
    ours, theirs = program.predict_step(X), by_hand.predict_step(X)
    assert torch.equal(ours["predictions"]["output"], theirs["predictions"]["output"])


@pytest.mark.parametrize("execution", ["eager", "compiled"])
def test_evaluating_between_steps_changes_nothing(execution, monkeypatch):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    program = built(execution=execution)
    losses = []
    for x, y in batches(4):
        program.train_step(x, y)
        losses.append(float(program.eval_step(X, Y)["loss"]))
        program.predict_step(X)
    plain = trained(built(execution=execution), 4)
    assert_same(program.state(), plain.state())
    assert_same(program.averages.state(), plain.averages.state())
    assert len(set(losses)) == 4


def test_the_swap_copies_nothing_and_is_undone_after_an_error():
    program = trained(built(), 3)
    weight = program.network.head.weight
    own, average = weight.data_ptr(), program.averages.state()["head.weight"].data_ptr()
    taken = program.state()["head.weight"]  # as a saver holds it, which copies meanwhile
    before = taken.clone()
    with program.averaged():
        assert weight.data_ptr() == average
        assert torch.equal(taken, before)
        with program.averaged():
            assert weight.data_ptr() == average
        assert weight.data_ptr() == average
    assert weight.data_ptr() == own
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        program.eval_step(X[:, :2], Y)
    assert weight.data_ptr() == own
    program.train_step(X, Y)


def test_no_step_is_taken_while_the_averages_are_in_place():
    program = trained(built(), 3)
    with program.averaged(), pytest.raises(DefinitionError, match="averages stand in"):
        program.train_step(X, Y)
    program.train_step(X, Y)


def test_a_resumed_run_has_the_averages_of_the_whole(tmp_path):
    whole = trained(built(), 9)
    trained(first := built(), 4)
    saving.save(first, tmp_path)
    again = built()
    saving.restore(again, checkpoint.load(checkpoint.latest(tmp_path)))
    trained(again, 9, start=4)
    assert_same(whole.state(), again.state())
    assert_same(whole.averages.state(), again.averages.state())


def test_a_checkpoint_with_averages_is_evaluated_by_them_without_being_told(tmp_path):
    program = trained(built(), 4)
    saving.save(program, tmp_path)
    restored = checkpoint.load(checkpoint.latest(tmp_path))
    other = dovetail.build(model_fn, example=X, device="cpu")  # made to predict
    saving.restore(other, restored, weights_only=True)
    ours, theirs = other.predict_step(X), program.predict_step(X)
    assert torch.equal(ours["predictions"]["output"], theirs["predictions"]["output"])
    # Going on with training, where no averages are asked for, there are none.
    plain = built(ema_decay=None)
    saving.restore(plain, restored, weights_only=True)
    assert plain.averages is not None
    saving.restore(plain, restored)
    assert plain.averages is None
    assert torch.equal(plain.state()["head.weight"], program.state()["head.weight"])


def test_averages_begin_from_a_checkpoint_that_has_none(tmp_path):
    plain = trained(built(ema_decay=None), 3)
    saving.save(plain, tmp_path)
    program = built()
    assert program.averages is not None  # of the first weights, which must not stay
    saving.restore(program, checkpoint.load(checkpoint.latest(tmp_path)))
    assert_same(program.averages.state(), parameters(plain))


def test_what_is_not_trained_and_buffers_have_none():
    program = trained(built(freeze=["body.*"]), 2)
    assert list(program.averages.state()) == [
        *("norm.weight", "norm.bias", "head.weight", "head.bias")
    ]
    with program.averaged():
        assert program.network.norm.running_mean.abs().sum() > 0


def test_averages_of_half_precision_are_wide_enough_to_move():
    weight = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    averages = Averages(0.999, [("weight", weight)])
    weight.data += 1
    for _ in range(100):
        averages.update()
    (average,) = averages.state().values()
    assert average.dtype == torch.float32
    assert average.item() == pytest.approx(2 - 0.999**100, rel=1e-4)
    with averages.in_place():
        assert weight.dtype == torch.bfloat16
        assert weight.item() == pytest.approx(average.item(), rel=1e-2)
    assert weight.item() == 2


def test_parts_count_as_one_update():
    whole, cut = trained(built(), 3), trained(built(), 3, parts=2)
    assert cut.global_step == 3
    kept = Averages(DECAY, cut.network.named_parameters())
    assert list(kept.state()) == list(whole.averages.state())

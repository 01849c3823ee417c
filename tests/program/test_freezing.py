"""Frozen parameters stay as they are, and the rest is trained as if they were constants."""

import gc

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import DefinitionError
from dovetail.run import checkpoint, saving

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(8, 5, generator=GENERATOR)
Y = torch.randn(8, 1, generator=GENERATOR)


def model_of(optimizer, norm=None):
    def body(x):
        h = layers.layer(nn.Linear, 5, 7, name="linear")(x)
        return norm(h) if norm else layers.layer(nn.BatchNorm1d, 7, name="norm")(h)

    def model_fn(features, labels, mode):
        h = torch.relu(layers.block(body, features, name="encoder"))
        output = layers.layer(nn.Linear, 7, 1, name="head")(h)
        loss = F.mse_loss(output, labels)
        op = optimizer(loss) if callable(optimizer) else optimizer.minimize(loss)
        return dovetail.EstimatorSpec(mode, output, loss, op)

    return model_fn


MODEL = model_of(optimizers.Adam(0.05))


def built(model=MODEL, **settings):
    return dovetail.build(model, example=(X, Y), device="cpu", **settings)


def copied(program):
    return {name: tensor.clone() for name, tensor in program.state().items()}


def changed(program, before):
    return [n for n, tensor in program.state().items() if not torch.equal(tensor, before[n])]


def test_what_is_frozen_stays_and_the_rest_is_the_plain_loop():
    program = built(freeze=["encoder.*"])
    before = copied(program)
    linear, norm, head = nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 1)
    net = nn.ModuleDict({"linear": linear, "norm": norm})
    net.load_state_dict({k.removeprefix("encoder."): v for k, v in before.items() if "enc" in k})
    head.load_state_dict({k.removeprefix("head."): v for k, v in before.items() if "head" in k})
    net.eval()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(4):
        program.train_step(X, Y)
        optimizer.zero_grad()
        with torch.no_grad():
            h = torch.relu(norm(linear(X)))
        F.mse_loss(head(h), Y).backward()
        optimizer.step()
    assert changed(program, before) == ["head.weight", "head.bias"]
    assert torch.equal(program.state()["head.weight"], head.weight)
    assert torch.equal(program.state()["head.bias"], head.bias)


def test_what_is_frozen_has_no_optimizer_state():
    program = built(freeze=["encoder.*"])
    program.train_step(X, Y)
    names = {id(p): name for name, p in program.network.named_parameters()}
    assert sorted(names[id(p)] for p in program.optimizer.state) == ["head.bias", "head.weight"]


@pytest.mark.parametrize(
    ("freeze", "held"),
    [
        (["encoder.norm.*"], True),
        (["encoder.norm.weight", "encoder.norm.bias"], True),
        (["encoder.norm.weight"], False),
        (["encoder.linear.*"], False),
    ],
)
def test_statistics_are_held_where_all_of_their_layer_is(freeze, held):
    program = built(freeze=freeze)
    program.train_step(X, Y)
    program.eval_step(X, Y)
    program.train_step(X, Y)
    still = not program.state()["encoder.norm.running_mean"].any()
    assert still == held
    assert program.network.encoder.norm.training != held
    assert program.network.head.training


def test_statistics_without_parameters_are_held_by_their_own_name():
    def plain(h):
        return layers.layer(nn.BatchNorm1d, 7, affine=False, name="norm")(h)

    program = built(model_of(optimizers.SGD(0.1), plain), freeze=["encoder.*"])
    program.train_step(X, Y)
    assert not program.state()["encoder.norm.running_mean"].any()


def test_a_batch_norm_whose_training_is_pinned_is_held_too():
    def pinned(h):
        return layers.batch_norm(h, scale=True, scope="norm", is_training=True)

    free = built(model_of(optimizers.SGD(0.1), pinned))
    frozen = built(model_of(optimizers.SGD(0.1), pinned), freeze=["encoder.*"])
    for program in (free, frozen):
        program.train_step(X, Y)
    assert free.state()["encoder.norm.running_mean"].any()
    assert not frozen.state()["encoder.norm.running_mean"].any()


def test_groups_and_var_list_may_name_what_is_frozen():
    groups = [optimizers.ParamGroup("encoder.*", learning_rate_scale=0.1)]
    program = built(model_of(optimizers.SGD(0.1, groups=groups)), freeze=["encoder.*"])
    program.train_step(X, Y)

    def two(loss):
        return {
            "body": optimizers.SGD(0.1).minimize(loss, var_list=["encoder.*"]),
            "head": optimizers.SGD(0.1).minimize(loss, var_list=["head.*"]),
        }

    program = built(model_of(two), freeze=["encoder.linear.*"])
    before = copied(program)
    program.train_step(X, Y)
    assert "encoder.linear.weight" not in changed(program, before)
    assert "encoder.norm.weight" in changed(program, before)
    with pytest.raises(DefinitionError, match="train_op 'body' updates parameters none of which"):
        built(model_of(two), freeze=["encoder.*"]).train_step(X, Y)


def test_frozen_parameters_take_a_checkpoints_values(tmp_path):
    program = built(freeze=["encoder.*"], seed=1)
    program.train_step(X, Y)
    saving.save(program, tmp_path)
    again = built(freeze=["encoder.*"], seed=2)
    saving.restore(again, checkpoint.load(checkpoint.latest(tmp_path)))
    assert not changed(again, copied(program))
    for each in (program, again):
        each.train_step(X, Y)
    assert not changed(again, copied(program))


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (["encodr.*"], r"'encodr.\*' matches no parameter. Did you mean 'encoder"),
        (["encoder.linear.wieght"], "Did you mean 'encoder.linear.weight'"),
        (["*"], "leaves no parameter to train"),
        (["encoder.*", "head.*"], "leaves no parameter to train"),
    ],
)
def test_patterns_that_make_no_sense_are_refused(freeze, message):
    with pytest.raises(DefinitionError, match=message):
        built(freeze=freeze)


def test_a_loss_of_frozen_parameters_alone_is_refused():
    def model_fn(features, labels, mode):
        h = layers.layer(nn.Linear, 5, 1, name="used")(features)
        layers.layer(nn.Linear, 5, 1, name="unused")(features)
        loss = F.mse_loss(h, labels)
        return dovetail.EstimatorSpec(mode, h, loss, optimizers.SGD(0.1).minimize(loss))

    with pytest.raises(DefinitionError, match="depends on frozen parameters alone"):
        built(model_fn, freeze=["used.*"])


def test_a_program_made_to_predict_takes_the_setting():
    def predicts(features, labels, mode):
        h = layers.layer(nn.Linear, 5, 1, name="used")(features)
        return dovetail.EstimatorSpec(mode, h)

    dovetail.build(predicts, example=X, device="cpu", freeze=["elsewhere.*"]).predict_step(X)


@pytest.mark.parametrize("kept", [True, False])
def test_a_module_from_outside_is_as_it_was_for_the_next_program(kept):
    """Whether the program that froze it lives on, and the next gets a copy, or not."""
    outside = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7))

    def model_fn(features, labels, mode):
        h = layers.layer(outside, name="outside")(features)
        output = layers.layer(nn.Linear, 7, 1, name="head")(h)
        loss = F.mse_loss(output, labels)
        return dovetail.EstimatorSpec(mode, output, loss, optimizers.SGD(0.1).minimize(loss))

    first = built(model_fn, freeze=["outside.*"], recompute=["outside"])
    first.train_step(X, Y)
    held = first if kept else None
    del first
    gc.collect()
    second = built(model_fn)
    before = copied(second)
    second.train_step(X, Y)
    trained = changed(second, before)
    assert {"outside.0.weight", "outside.1.weight", "outside.1.running_mean"} <= set(trained)
    assert "forward" not in vars(second.network.outside)
    if held is not None:
        before = copied(held)
        held.train_step(X, Y)
        assert changed(held, before) == ["head.weight", "head.bias"]

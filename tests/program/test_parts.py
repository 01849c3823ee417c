"""A batch in parts: the gradients of the whole, whatever a part's loss counts for."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import DataError, DefinitionError

GENERATOR = torch.Generator().manual_seed(3)
X = torch.randn(7, 5, 4, generator=GENERATOR)
Y = torch.randint(0, 3, (7, 5), generator=GENERATOR)
MASK = (torch.arange(5) < torch.tensor([5, 1, 3, 2, 5, 4, 1])[:, None]).float()
SGD = optimizers.SGD(0.1)


def network(features):
    h = torch.tanh(layers.layer(nn.Linear, 4, 6)(features["x"]))
    return layers.layer(nn.Linear, 6, 3)(h)


def token_losses(features, labels):
    logits = network(features)
    each = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return logits, each * features["mask"]


def mean_over_examples(features, labels, mode):
    logits, each = token_losses(features, labels)
    loss = each.sum(1).mean()
    return dovetail.EstimatorSpec(mode, logits, loss, SGD.minimize(loss))


def mean_over_tokens(features, labels, mode):
    logits, each = token_losses(features, labels)
    tokens = features["mask"].sum()
    loss = each.sum() / tokens
    return dovetail.EstimatorSpec(mode, logits, loss, SGD.minimize(loss), loss_weight=tokens)


def summed(features, labels, mode):
    logits, each = token_losses(features, labels)
    loss = each.sum()
    return dovetail.EstimatorSpec(mode, logits, loss, SGD.minimize(loss), loss_weight="sum")


def given_gradients(features, labels, mode):
    logits, each = token_losses(features, labels)
    loss = each.sum(1).mean()
    own = list(layers.layer(nn.Linear, 4, 6, name="linear").parameters())
    own += list(layers.layer(nn.Linear, 6, 3, name="linear_1").parameters())
    if mode != dovetail.ModeKeys.TRAIN:
        return dovetail.EstimatorSpec(mode, logits, loss)
    pairs = zip(torch.autograd.grad(loss, own, retain_graph=True), own, strict=True)
    return dovetail.EstimatorSpec(mode, logits, loss, SGD.apply_gradients(pairs))


def named_network(features):
    h = torch.tanh(layers.layer(nn.Linear, 4, 6, name="linear")(features["x"]))
    return layers.layer(nn.Linear, 6, 3, name="linear_1")(h)


def gradients(model_fn, parts):
    features = {"x": X, "mask": MASK}
    program = dovetail.build(model_fn, example=(features, Y), device="cpu")
    loss = program.train_step(features, Y, parts=parts)["loss"]
    return loss, {name: p.grad for name, p in program.network.named_parameters()}


@pytest.mark.parametrize("model_fn", [mean_over_examples, mean_over_tokens, summed])
@pytest.mark.parametrize("parts", [2, 3, 7, 20])
def test_parts_give_the_gradients_of_the_whole_batch(model_fn, parts):
    loss, whole = gradients(model_fn, 1)
    loss_in_parts, in_parts = gradients(model_fn, parts)
    torch.testing.assert_close(loss_in_parts, loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(in_parts, whole, rtol=1e-6, atol=1e-6)
    assert all(value.any() for value in whole.values())


def test_gradients_of_parts_by_the_user_are_weighted_too(monkeypatch):
    monkeypatch.setitem(globals(), "network", named_network)
    loss, whole = gradients(mean_over_examples, 1)
    loss_in_parts, in_parts = gradients(given_gradients, 3)
    torch.testing.assert_close(loss_in_parts, loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(in_parts, whole, rtol=1e-6, atol=1e-6)


def test_a_wrong_weight_would_show():
    def unweighted(features, labels, mode):
        spec = mean_over_tokens(features, labels, mode)
        return dovetail.EstimatorSpec(mode, spec.predictions, spec.loss, spec.train_op)

    _, whole = gradients(unweighted, 1)
    _, in_parts = gradients(unweighted, 3)
    assert (whole["linear.weight"] - in_parts["linear.weight"]).abs().max() > 1e-3


def test_a_number_as_loss_weight_is_the_same_for_each_part():
    def model_fn(features, labels, mode):
        spec = mean_over_examples(features, labels, mode)
        return dovetail.EstimatorSpec(
            mode, spec.predictions, spec.loss, spec.train_op, loss_weight=2.5
        )

    _, in_parts = gradients(model_fn, 7)
    _, whole = gradients(mean_over_examples, 1)
    torch.testing.assert_close(in_parts, whole, rtol=1e-6, atol=1e-6)


# Several train_ops


class Gan(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = nn.Linear(2, 4)
        self.critic = nn.Linear(4, 1)

    def losses(self, noise, real):
        fake = self.generator(noise)
        fooled = F.softplus(-self.critic(fake)).mean()
        seen = F.softplus(self.critic(fake.detach())) + F.softplus(-self.critic(real))
        return fooled, seen.mean()


def gan_model_fn(features, labels, mode):
    net = layers.layer(Gan, name="gan")
    generator_loss, critic_loss = net.losses(features["noise"], features["real"])
    return dovetail.EstimatorSpec(
        mode,
        loss=generator_loss + critic_loss,
        train_op={
            "critic": optimizers.Adam(0.02).minimize(critic_loss, var_list=["gan.critic.*"]),
            "generator": optimizers.SGD(0.05, clip_norm=0.1).minimize(
                generator_loss, var_list=list(net.generator.parameters())
            ),
        },
    )


def gan_batches():
    generator = torch.Generator().manual_seed(5)
    for _ in range(4):
        yield {
            "noise": torch.randn(6, 2, generator=generator),
            "real": torch.randn(6, 4, generator=generator),
        }


def gan_by_hand(net):
    critic = torch.optim.Adam(net.critic.parameters(), lr=0.02)
    generator = torch.optim.SGD(net.generator.parameters(), lr=0.05)
    for batch in gan_batches():
        generator_loss, critic_loss = net.losses(batch["noise"], batch["real"])
        critic.zero_grad()
        critic_loss.backward(retain_graph=True)
        critic_gradients = [p.grad.clone() for p in net.critic.parameters()]
        generator.zero_grad()
        generator_loss.backward()
        for parameter, gradient in zip(net.critic.parameters(), critic_gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(net.generator.parameters(), 0.1)
        critic.step()
        generator.step()


def test_several_train_ops_each_take_their_own_loss_and_parameters():
    program = dovetail.build(gan_model_fn, example=(next(gan_batches()), None), device="cpu")
    net = copy.deepcopy(program.network.gan)
    for batch in gan_batches():
        program.train_step(batch)
    gan_by_hand(net)
    for name, value in program.network.gan.state_dict().items():
        assert torch.equal(value, net.state_dict()[name]), name
    assert list(program.optimizers) == ["critic", "generator"]


def test_several_train_ops_in_parts_give_the_gradients_of_the_whole_batch():
    results = []
    for parts in (1, 4):
        batch = next(gan_batches())
        program = dovetail.build(gan_model_fn, example=(batch, None), device="cpu")
        program.train_step(batch, parts=parts)
        results.append({name: p.grad for name, p in program.network.named_parameters()})
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


def test_one_parameter_in_two_train_ops_is_refused():
    def model_fn(features, labels, mode):
        loss = layers.layer(nn.Linear, 4, 1)(features).mean()
        ops = {"one": SGD.minimize(loss), "two": optimizers.Adam(0.1).minimize(loss)}
        return dovetail.EstimatorSpec(mode, loss=loss, train_op=ops)

    program = dovetail.build(model_fn, device="cpu")
    with pytest.raises(DefinitionError, match=r"'one' and 'two' both update 'linear.weight'"):
        program.train_step(torch.ones(2, 4))


# apply_gradients


def applied(make_op):
    """Return the parameters after three steps of a model whose train_op is `make_op(loss, net)`."""

    def model_fn(features, labels, mode):
        net = layers.layer(nn.Linear, 4, 2, name="net")
        loss = net(features).square().mean()
        return dovetail.EstimatorSpec(mode, loss=loss, train_op=make_op(loss, net))

    program = dovetail.build(model_fn, device="cpu")
    for step in range(3):
        program.train_step(X[:, step])
    return program.state()


def by_pairs(loss, net):
    own = list(net.parameters())
    pairs = list(zip(torch.autograd.grad(loss, own), own, strict=True))
    return optimizers.Adam(0.1).apply_gradients(reversed(pairs))


def by_name(loss, net):
    weight, bias = torch.autograd.grad(loss, [net.weight, net.bias])
    return optimizers.Adam(0.1).apply_gradients({"net.bias": bias, "net.weight": weight})


def by_token(loss, net):
    optimizer = optimizers.Adam(0.1)
    return optimizer.apply_gradients(optimizer.compute_gradients(loss))


@pytest.mark.parametrize("make_op", [by_pairs, by_name, by_token])
def test_apply_gradients_does_what_minimize_does(make_op):
    minimized = applied(lambda loss, net: optimizers.Adam(0.1).minimize(loss))
    for name, value in applied(make_op).items():
        assert torch.equal(value, minimized[name]), name


def test_changed_gradients_are_those_that_are_applied():
    def doubled(loss, net):
        weight, _bias = torch.autograd.grad(loss, [net.weight, net.bias])
        return optimizers.SGD(0.1).apply_gradients([(2 * weight, net.weight), (None, net.bias)])

    def by_hand(loss, net):
        return optimizers.SGD(0.2).minimize(loss, var_list=["net.weight"])

    ours, theirs = applied(doubled), applied(by_hand)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_pairs_and_minimize_share_a_model_without_overlap():
    def model_fn(features, labels, mode):
        one = layers.layer(nn.Linear, 4, 2, name="one")
        two = layers.layer(nn.Linear, 2, 1, name="two")
        loss = two(one(features)).square().mean()
        (gradient,) = torch.autograd.grad(loss, [one.weight], retain_graph=True)
        ops = {
            "pairs": SGD.apply_gradients([(gradient, one.weight)]),
            "loss": SGD.minimize(loss, var_list=["two.*", "one.bias"]),
        }
        return dovetail.EstimatorSpec(mode, loss=loss, train_op=ops)

    program = dovetail.build(model_fn, example=(X[:, 0], None), device="cpu")
    net = nn.Sequential(copy.deepcopy(program.network.one), copy.deepcopy(program.network.two))
    program.train_step(X[:, 0])
    net(X[:, 0]).square().mean().backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    for ours, theirs in zip(program.network.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_a_gradient_for_no_parameter_is_refused():
    def model_fn(features, labels, mode):
        loss = layers.layer(nn.Linear, 4, 2, name="net")(features).mean()
        op = SGD.apply_gradients({"net.wieght": torch.ones(2, 4)})
        return dovetail.EstimatorSpec(mode, loss=loss, train_op=op)

    program = dovetail.build(model_fn, device="cpu")
    with pytest.raises(DefinitionError, match=r"'net.wieght', which is no parameter.*net.weight"):
        program.train_step(X[:, 0])


# Frozen parameters


def test_frozen_parameters_stay_and_are_kept():
    def model_fn(features, labels, mode):
        frozen = layers.layer(lambda: nn.Linear(4, 4).requires_grad_(False), name="frozen")
        loss = layers.layer(nn.Linear, 4, 1)(frozen(features)).square().mean()
        return dovetail.EstimatorSpec(
            mode, loss=loss, train_op=optimizers.AdamW(0.1, weight_decay=0.5).minimize(loss)
        )

    program = dovetail.build(model_fn, example=(X[:, 0], None), device="cpu")
    before = {name: value.clone() for name, value in program.state().items()}
    for parts in (1, 3):
        program.train_step(X[:, 0], parts=parts)
    after = program.state()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"linear.weight", "linear.bias"}
    assert list(after)[:2] == ["frozen.weight", "frozen.bias"]


# Batches that can't be cut


def test_tensors_that_do_not_share_their_examples_are_refused():
    with pytest.raises(DataError, match=r"7 examples, and holds a tensor of shape \[5\]"):
        dovetail.build(mean_over_examples, device="cpu").train_step(
            {"x": X, "mask": MASK[0]}, Y, parts=2
        )


@pytest.mark.parametrize("parts", [1, 2])
def test_a_batch_without_examples_is_refused(parts):
    program = dovetail.build(mean_over_examples, example=({"x": X, "mask": MASK}, Y), device="cpu")
    with pytest.raises(DataError, match="no example"):
        program.train_step({"x": X[:0], "mask": MASK[:0]}, Y[:0], parts=parts)

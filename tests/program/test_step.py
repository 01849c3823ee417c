"""Train steps against plain torch loops: the same parameters, bit for bit."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dovetail
from dovetail import layers, optimizers
from dovetail.definition.optimizers import ParamGroup, schedules

STEPS = 6


def batches(steps=STEPS, size=8):
    generator = torch.Generator().manual_seed(7)
    for _ in range(steps):
        x = torch.randn(size, 5, generator=generator)
        yield x, torch.randn(size, 1, generator=generator)


def model_fn_of(optimizer):
    def model_fn(features, labels, mode, params):
        h = torch.relu(layers.layer(nn.Linear, 5, 7)(features))
        h = layers.layer(nn.LayerNorm, 7)(h)
        output = layers.layer(nn.Linear, 7, 1)(h)
        loss = F.mse_loss(output, labels)
        return dovetail.EstimatorSpec(mode, output, loss, optimizer.minimize(loss))

    return model_fn


class Net(nn.Module):
    """The same model in plain torch."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 7)
        self.layernorm = nn.LayerNorm(7)
        self.linear_1 = nn.Linear(7, 1)

    def forward(self, x):
        return self.linear_1(self.layernorm(torch.relu(self.linear(x))))


def trained_by_dovetail(optimizer, steps=STEPS):
    """Return the parameters before and after some steps."""
    program = dovetail.build(
        model_fn_of(optimizer), example=next(batches()), device="cpu", execution="eager"
    )
    first = {name: value.clone() for name, value in program.state().items()}
    for x, y in batches(steps):
        program.train_step(x, y)
    return first, program.state()


def trained_by_hand(first, make, rate=None, before=None, steps=STEPS):
    """Run the plain loop: `make` gives the optimizer of a net, `rate` each step's learning rate."""
    net = Net()
    net.load_state_dict(first)
    optimizer = make(net)
    for step, (x, y) in enumerate(batches(steps)):
        if rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        if before is not None:
            before(net)
        optimizer.step()
    return net.state_dict()


def assert_identical(ours, theirs):
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


OPTIMIZERS = [
    (optimizers.Adam(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    (
        optimizers.Adam(0.01, (0.8, 0.9), 1e-6, 0.1, True),
        lambda p: torch.optim.Adam(
            p, lr=0.01, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1, amsgrad=True
        ),
    ),
    (optimizers.AdamW(0.01), lambda p: torch.optim.AdamW(p, lr=0.01)),
    (optimizers.SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    (
        optimizers.SGD(0.1, momentum=0.5, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, weight_decay=0.1),
    ),
    (optimizers.Momentum(0.1), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    (
        optimizers.Momentum(0.1, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    ),
    (optimizers.RMSProp(0.01), lambda p: torch.optim.RMSprop(p, lr=0.01)),
    (
        optimizers.RMSProp(0.01, momentum=0.9, centered=True),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    ),
    (optimizers.Adagrad(0.1), lambda p: torch.optim.Adagrad(p, lr=0.1)),
    (optimizers.Adadelta(1.0), lambda p: torch.optim.Adadelta(p, lr=1.0)),
    (
        optimizers.Custom(lambda parameters: torch.optim.NAdam(parameters, lr=0.01)),
        lambda p: torch.optim.NAdam(p, lr=0.01),
    ),
]


@pytest.mark.parametrize(
    ("ours", "theirs"), OPTIMIZERS, ids=[type(ours).__name__ for ours, _ in OPTIMIZERS]
)
def test_each_optimizer_ends_where_the_plain_loop_does(ours, theirs):
    first, ended = trained_by_dovetail(ours)
    assert_identical(ended, trained_by_hand(first, lambda net: theirs(net.parameters())))
    assert not torch.equal(first["linear.weight"], ended["linear.weight"])


# The values are written out by hand, so that a schedule that starts a step early shows.
SCHEDULES = [
    (schedules.Constant(0.25), lambda step: 0.25),
    (schedules.Exponential(0.5, 1, 0.5), lambda step: 0.5 * 0.5**step),
    (schedules.PiecewiseConstant((2, 4), (0.5, 0.25, 0.125)), None),
    (schedules.Polynomial(0.5, 4, power=2.0), lambda s: 0.5 * (1 - min(s, 4) / 4) ** 2),
    (schedules.Linear(0.5, 4, 0.25), lambda s: 0.5 - 0.25 * min(s, 4) / 4),
    (schedules.Cosine(0.5, 4), lambda s: 0.25 * (1 + math.cos(math.pi * min(s, 4) / 4))),
    (schedules.WarmUp(schedules.Constant(0.5), 4), None),
    (
        schedules.Sequential(
            [(schedules.Constant(0.5), 3), (schedules.Exponential(0.25, 1, 0.5), None)]
        ),
        lambda s: 0.5 if s < 3 else 0.25 * 0.5 ** (s - 3),
    ),
]


@pytest.mark.parametrize(
    ("schedule", "by_hand"), SCHEDULES, ids=[type(s).__name__ for s, _ in SCHEDULES]
)
def test_each_schedule_gives_each_step_its_rate(schedule, by_hand):
    first, ended = trained_by_dovetail(optimizers.Momentum(schedule))
    hand = trained_by_hand(
        first, lambda net: torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.9), schedule
    )
    assert_identical(ended, hand)
    for step in range(STEPS) if by_hand is not None else ():
        expected = by_hand(step)
        if expected is not None:
            assert schedule(step) == pytest.approx(expected, rel=1e-12)


def test_the_rate_of_the_last_step_is_told():
    optimizer = optimizers.SGD(schedules.Exponential(0.5, 1, 0.5))
    program = dovetail.build(model_fn_of(optimizer), device="cpu")
    told = []
    for x, y in batches(3):
        program.train_step(x, y)
        told.append(program.learning_rate)
    assert told == [0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("clip", "by_hand"),
    [
        ({"clip_norm": 0.3}, lambda net: nn.utils.clip_grad_norm_(net.parameters(), 0.3)),
        ({"clip_value": 0.01}, lambda net: nn.utils.clip_grad_value_(net.parameters(), 0.01)),
    ],
)
def test_clipped_gradients_are_those_of_the_plain_loop(clip, by_hand):
    first, ended = trained_by_dovetail(optimizers.Adam(0.01, **clip))
    make = lambda net: torch.optim.Adam(net.parameters(), lr=0.01)  # noqa: E731
    assert_identical(ended, trained_by_hand(first, make, before=by_hand))
    assert not torch.equal(
        trained_by_dovetail(optimizers.SGD(0.01, **clip))[1]["linear.weight"],
        trained_by_dovetail(optimizers.SGD(0.01))[1]["linear.weight"],
    )


def test_groups_have_their_own_rates_and_decay():
    schedule = schedules.Exponential(0.1, 1, 0.5)
    groups = (
        ParamGroup("linear_1.*", learning_rate=schedule),
        ParamGroup("layernorm.*", learning_rate_scale=0.5, weight_decay=0.0),
        ParamGroup("*", weight_decay=0.0, max_dim=1),
    )
    first, ended = trained_by_dovetail(
        optimizers.AdamW(0.01, weight_decay=0.3, groups=groups, clip_norm=1.0)
    )

    def make(net):
        return torch.optim.AdamW(
            [
                {"params": [net.linear.weight], "weight_decay": 0.3},
                {"params": list(net.linear_1.parameters()), "weight_decay": 0.3},
                {"params": list(net.layernorm.parameters()), "lr": 0.005, "weight_decay": 0.0},
                {"params": [net.linear.bias], "weight_decay": 0.0},
            ],
            lr=0.01,
        )

    net = Net()
    net.load_state_dict(first)
    optimizer = make(net)
    for step, (x, y) in enumerate(batches()):
        optimizer.param_groups[1]["lr"] = schedule(step)
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    assert_identical(ended, net.state_dict())

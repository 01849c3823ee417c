"""Learning rates that fall from layer to layer, against torch's groups made by hand."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from dovetail import optimizers
from dovetail.definition.optimizers import layerwise_decay, set_learning_rates
from dovetail.errors import DefinitionError


def net():
    torch.manual_seed(0)
    parts = {"embed": nn.Linear(3, 4), "block_1": nn.Linear(4, 4), "head": nn.Linear(4, 1)}
    return nn.Sequential(OrderedDict(parts))


PATTERNS = ["head.*", "block_1.*", "*"]
X = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))


def train(model, optimizer, rates=None, steps=4):
    for step in range(steps):
        if rates is not None:
            rates(step)
        optimizer.zero_grad()
        model(X).pow(2).mean().backward()
        optimizer.step()
    return model.state_dict()


def assert_same(ours, theirs):
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_rates_are_those_of_groups_made_by_hand():
    description = optimizers.AdamW(0.01, groups=layerwise_decay(PATTERNS, 0.5))
    ours, hand = net(), net()
    made = description.build(ours.named_parameters())
    by_hand = torch.optim.AdamW(
        [
            {"params": hand.head.parameters(), "lr": 0.01},
            {"params": hand.block_1.parameters(), "lr": 0.005},
            {"params": hand.embed.parameters(), "lr": 0.0025},
        ]
    )
    assert_same(train(ours, made), train(hand, by_hand))


def test_schedules_and_weight_decay_go_with_it():
    schedule = optimizers.schedules.Exponential(0.1, 1, 0.5)
    groups = layerwise_decay(PATTERNS, 0.5, no_decay=True)
    description = optimizers.SGD(schedule, weight_decay=0.3, groups=groups)
    ours, hand = net(), net()
    made = description.build(ours.named_parameters())
    by_hand = torch.optim.SGD(
        [
            {"params": [getattr(part, kind)], "weight_decay": decay}
            for part in (hand.head, hand.block_1, hand.embed)
            for kind, decay in (("bias", 0.0), ("weight", 0.3))
        ],
        lr=0.1,
    )

    def by_schedule(step):
        for group, scale in zip(by_hand.param_groups, (1, 1, 0.5, 0.5, 0.25, 0.25), strict=True):
            group["lr"] = 0.1 * 0.5**step * scale

    ours = train(ours, made, lambda step: set_learning_rates(description, made, step))
    assert_same(ours, train(hand, by_hand, by_schedule))


@pytest.mark.parametrize("arguments", [([], 0.5), ("head.*", 0.5), (["*"], 0.0), (["*"], -1)])
def test_what_makes_no_groups_is_refused(arguments):
    with pytest.raises(DefinitionError, match="layerwise_decay"):
        layerwise_decay(*arguments)

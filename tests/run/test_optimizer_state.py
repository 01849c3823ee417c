"""An optimizer resumed from its saved state goes on exactly as the one never interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict
from torch.optim import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    NAdam,
    Optimizer,
    RMSprop,
)

from dovetail.errors import CheckpointError
from dovetail.run import checkpoint
from dovetail.run.optimizer_state import optimizer_state, restore_optimizer

Make = Callable[[torch.nn.Module], Optimizer]
MAKERS: dict[str, Make] = {
    "adam": lambda n: Adam(n.parameters(), lr=0.02, weight_decay=0.01),
    "adam_amsgrad": lambda n: Adam(n.parameters(), amsgrad=True, foreach=True),
    "adam_fused": lambda n: Adam(n.parameters(), fused=True),
    "adamw_tensor_lr": lambda n: AdamW(n.parameters(), lr=torch.tensor(0.01)),
    "sgd": lambda n: SGD(n.parameters(), lr=0.1),
    "sgd_momentum": lambda n: SGD(n.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1),
    "sgd_nesterov": lambda n: SGD(n.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda n: RMSprop(n.parameters(), momentum=0.9, centered=True),
    "adagrad": lambda n: Adagrad(n.parameters(), initial_accumulator_value=0.1, lr_decay=0.1),
    "adadelta": lambda n: Adadelta(n.parameters()),
    "nadam": lambda n: NAdam(n.parameters()),
    "lbfgs": lambda n: LBFGS(n.parameters(), max_iter=3),
    "groups": lambda n: Adam(
        [
            {"params": [p for p in n.parameters() if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in n.parameters() if p.ndim < 2], "lr": 0.3, "initial_lr": 0.4},
        ]
    ),
}


class Net(torch.nn.Module):
    """Tied weights, and a layer that gets no gradient in the first steps."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = torch.nn.Linear(4, 4)
        self.second = torch.nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.late = torch.nn.Linear(4, 1)
        self.to(dtype)

    def forward(self, x: torch.Tensor, step: int) -> torch.Tensor:
        x = self.second(self.first(x).tanh())
        return self.late(x) if step > 3 else x


def _steps(net: Net, optimizer: Optimizer, start: int, stop: int) -> None:
    for step in range(start, stop):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 4, generator=generator).to(net.first.weight.dtype)

        def closure(x: torch.Tensor = x, step: int = step) -> torch.Tensor:
            optimizer.zero_grad()
            loss = net(x, step).square().mean()
            loss.backward()
            return loss

        if isinstance(optimizer, LBFGS):
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("stop", [0, 2, 5])
def test_a_resumed_optimizer_goes_on_bit_for_bit(tmp_path: Path, name: str, stop: int) -> None:
    whole = Net(seed=0)
    whole_optimizer = MAKERS[name](whole)
    _steps(whole, whole_optimizer, 0, 8)

    net = Net(seed=0)
    optimizer = MAKERS[name](net)
    _steps(net, optimizer, 0, stop)
    saved = optimizer_state(net, optimizer)
    path = checkpoint.save(tmp_path, stop, net.state_dict(), saved, {})
    _steps(net, optimizer, stop, 8)  # saving changes nothing for the run that goes on

    loaded = checkpoint.load(path)
    resumed = Net(seed=1)
    resumed.load_state_dict(loaded.model)
    again = MAKERS[name](resumed)
    for group in again.param_groups:
        group["lr"] = 123.0
    restore_optimizer(resumed, again, loaded.optimizer)
    _steps(resumed, again, stop, 8)

    for other in (net, resumed):
        for key, value in whole.state_dict().items():
            assert torch.equal(other.state_dict()[key], value), key


def test_keys_and_values_are_those_of_torchs_own_function() -> None:
    net = Net(seed=0)
    optimizer = MAKERS["groups"](net)
    _steps(net, optimizer, 0, 6)
    options = StateDictOptions(flatten_optimizer_state_dict=True)
    expected = get_optimizer_state_dict(net, optimizer, options=options)
    found = optimizer_state(net, optimizer)
    assert found.pop("class") == "Adam"
    assert set(found) == set(expected)
    for key, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, found[key])  # pyright: ignore[reportArgumentType]
        else:
            assert found[key] == value


def test_asking_changes_nothing() -> None:
    net = Net(seed=0)
    optimizer = MAKERS["adam"](net)
    net(torch.ones(1, 4), 9).sum().backward()
    before = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    optimizer_state(net, optimizer)
    assert not optimizer.state
    assert all(
        b.equal(p.grad) for b, p in zip(before, net.parameters(), strict=True) if p.grad is not None
    )


def test_restored_state_is_a_copy() -> None:
    net = Net(seed=0)
    optimizer = MAKERS["adam"](net)
    _steps(net, optimizer, 0, 2)
    saved = optimizer_state(net, optimizer)
    moment = saved["state.first.weight.exp_avg"]
    assert isinstance(moment, torch.Tensor)
    kept = moment.clone()
    other = Net(seed=1)
    again = MAKERS["adam"](other)
    restore_optimizer(other, again, saved)
    _steps(other, again, 2, 4)
    assert moment.equal(kept)


def test_state_keeps_a_dtype_other_than_the_parameters() -> None:
    net = Net(seed=0, dtype=torch.bfloat16)
    optimizer = MAKERS["sgd_momentum"](net)
    exact = torch.full((4, 4), 0.1)
    optimizer.state[net.first.weight]["momentum_buffer"] = exact
    other = Net(seed=1, dtype=torch.bfloat16)
    again = MAKERS["sgd_momentum"](other)
    restore_optimizer(other, again, optimizer_state(net, optimizer))
    assert again.state[other.first.weight]["momentum_buffer"].equal(exact)


def test_settings_of_the_definition_can_win() -> None:
    net = Net(seed=0)
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    _steps(net, optimizer, 0, 2)
    again = SGD(net.parameters(), lr=0.5, momentum=0.8)
    restore_optimizer(net, again, optimizer_state(net, optimizer), settings=False)
    assert (again.param_groups[0]["lr"], again.param_groups[0]["momentum"]) == (0.5, 0.8)
    assert again.state[net.first.weight]["momentum_buffer"].any()


def test_settings_that_are_no_values_are_left_out() -> None:
    net = Net(seed=0)
    groups = [{"params": list(net.parameters()), "schedule": lambda step: 0.1}]
    assert "param_groups.first.weight.schedule" not in optimizer_state(net, SGD(groups, lr=0.1))


def test_another_class_is_refused() -> None:
    net = Net(seed=0)
    with pytest.raises(CheckpointError, match="optimizer Adam, the definition has SGD"):
        restore_optimizer(net, MAKERS["sgd"](net), optimizer_state(net, Adam(net.parameters())))


def test_other_parameters_are_listed_and_nothing_is_changed() -> None:
    net, less = Net(seed=0), torch.nn.ModuleDict({"late": torch.nn.Linear(4, 1)})
    optimizer = MAKERS["adam"](net)
    _steps(net, optimizer, 0, 2)
    saved = optimizer_state(less, Adam(less.parameters()))
    with pytest.raises(CheckpointError, match=r"missing .*\(3\): first\.weight, first\.bias"):
        restore_optimizer(net, optimizer, saved)
    assert optimizer.state[net.first.weight]


def test_groups_that_cannot_be_joined_are_refused() -> None:
    net = Net(seed=0)
    saved = optimizer_state(net, MAKERS["groups"](net))
    with pytest.raises(
        CheckpointError, match=r"lr of first\.weight is 0\.001, of first\.bias 0\.3"
    ):
        restore_optimizer(net, Adam(net.parameters()), saved)


def test_a_parameter_that_is_not_the_networks_is_refused() -> None:
    net = Net(seed=0)
    stray = torch.nn.Parameter(torch.ones(7))
    with pytest.raises(CheckpointError, match=r"shape \(7,\).*network does not hold"):
        optimizer_state(net, SGD([*net.parameters(), stray], lr=0.1))


def test_a_frozen_parameter_outside_the_optimizer_has_no_state() -> None:
    net = Net(seed=0)
    saved = optimizer_state(net, SGD(net.first.parameters(), lr=0.1))
    assert {k for k in saved if k.endswith(".lr")} == {
        "param_groups.first.weight.lr",
        "param_groups.first.bias.lr",
    }

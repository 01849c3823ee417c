"""What a step asks of torch directly: the same numbers, and nothing hidden from who looks on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode

from dovetail.program import direct_calls


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))


def _loss(net: nn.Module) -> Tensor:
    inputs = torch.linspace(-1, 1, 20).reshape(4, 5)
    return nn.functional.cross_entropy(net(inputs), torch.tensor([0, 1, 2, 0]))


MAKERS: list[Callable[[Any], torch.optim.Optimizer]] = [
    lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9),
    lambda ps: torch.optim.Adam(ps, lr=0.1, weight_decay=0.1),
    lambda ps: torch.optim.RMSprop(ps, lr=0.1),
]


@pytest.mark.parametrize("make", MAKERS)
def test_steps_are_those_of_torchs_own_calls_bit_for_bit(
    make: Callable[[Any], torch.optim.Optimizer],
) -> None:
    ours, plain = _net(), _net()
    our_optimizer, plain_optimizer = make(ours.parameters()), make(plain.parameters())
    for _ in range(5):
        direct_calls.forget_gradients(our_optimizer)
        direct_calls.backward(_loss(ours))
        direct_calls.update(our_optimizer)
        plain_optimizer.zero_grad()
        _loss(plain).backward()
        plain_optimizer.step()
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_loss_without_gradient_is_refused_as_torch_refuses_it() -> None:
    with pytest.raises(RuntimeError, match="does not require grad") as plain:
        torch.tensor(1.0).backward()
    with pytest.raises(RuntimeError, match="does not require grad") as ours:
        direct_calls.backward(torch.tensor(1.0))
    assert str(ours.value) == str(plain.value)


def test_a_mode_of_torch_functions_sees_the_backward_pass() -> None:
    seen: list[Any] = []

    class Seeing(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    net = _net()
    loss = _loss(net)
    with Seeing():
        direct_calls.backward(loss)
    assert Tensor.backward in seen


def test_gradients_are_there_when_a_hook_of_the_graph_runs() -> None:
    net, seen = _net(), []
    next(net.parameters()).register_post_accumulate_grad_hook(
        lambda p: seen.append(p.grad is not None)
    )
    direct_calls.backward(_loss(net))
    assert seen == [True]


def _updated(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    direct_calls.backward(_loss(net))
    direct_calls.update(optimizer)


def test_hooks_of_an_optimizer_and_of_all_are_called() -> None:
    net, seen = _net(), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    _updated(optimizer, net)
    handle = register_optimizer_step_post_hook(lambda *_: seen.append("after any"))
    try:
        _updated(optimizer, net)
    finally:
        handle.remove()
    assert seen == ["before", "before", "after any"]


def test_a_profiler_sees_the_update_under_its_name() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        _updated(optimizer, net)
    assert "Optimizer.step#SGD.step" in {event.key for event in profile.key_averages()}


def test_a_step_that_a_scheduler_put_on_the_optimizer_is_the_one_called() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    _updated(optimizer, net)
    scheduler.step()  # it warns of a scheduler that steps before its optimizer
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_users_own_step_is_called_though_it_is_dressed_as_torchs() -> None:
    seen: list[str] = []

    class Own(torch.optim.SGD):
        @functools.wraps(torch.optim.SGD.step)  # which copies what marks torch's own wrapper
        def step(self, closure: Any = None) -> Any:
            seen.append("own")
            return super().step(closure)

    torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)  # SGD's step has its wrapper by now
    net = _net()
    before = next(net.parameters()).detach().clone()
    _updated(Own(net.parameters(), lr=0.1), net)
    assert seen == ["own"]
    assert not torch.equal(next(net.parameters()), before)

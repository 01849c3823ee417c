"""Copies beside computing: complete when they are settled, and wrong ones are known."""

from __future__ import annotations

import threading

import pytest
import torch

from dovetail.run.copying import Copying

SIZES = [(), (3,), (0, 4), (70_000,), (5_000_000,), (300, 400)]


def some_pairs() -> list[tuple[torch.Tensor, torch.Tensor]]:
    tensors = [torch.randn(size) for size in SIZES]
    tensors += [torch.randn(300, 200).t(), torch.randn(20_000).bfloat16(), torch.randn(9) > 0]
    tensors += [
        torch.randn(20_000, dtype=torch.complex64).conj(),
        torch.randn(40_000).to(torch.int8),
    ]
    tensors += [torch.full((), float(n)) for n in range(600)]
    return [(torch.empty(t.shape, dtype=t.dtype), t) for t in tensors]


@pytest.mark.parametrize("helped", [False, True])
def test_everything_is_copied_when_it_is_settled(helped: bool) -> None:
    pairs = some_pairs()
    expected = [t.clone() for _, t in pairs]
    copying = Copying(pairs, {})
    thread = threading.Thread(target=copying.run)
    if helped:
        thread.start()
    copying.settle()
    for _, tensor in pairs:
        tensor.zero_()
    if helped:
        thread.join()
    for (buffer, _), wanted in zip(pairs, expected, strict=True):
        assert torch.equal(buffer, wanted)


def test_nothing_to_copy_is_settled_at_once() -> None:
    copying = Copying([], {})
    copying.run()
    copying.settle()
    assert copying.changed() == []


def test_what_was_changed_before_it_was_settled_is_known() -> None:
    one, other = torch.zeros(4), torch.zeros(4)
    copying = Copying(
        [(torch.empty(4), one), (torch.empty(4), other)], {"one": one, "other": other}
    )
    other.add_(1)
    copying.settle()
    one.add_(1)
    assert copying.changed() == ["other"]


def test_a_copy_that_fails_lets_nobody_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise MemoryError

    copying = Copying([(torch.empty(100_000), torch.zeros(100_000))], {})
    monkeypatch.setattr("numpy.copyto", fail)
    with pytest.raises(MemoryError):
        copying.run()
    copying.settle()
    with pytest.raises(RuntimeError, match="could not be copied"):
        copying.run()

"""Saving beside the training: the state of its step, whole, in order, or an error that is told."""

from __future__ import annotations

import copy
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dovetail
from dovetail import optimizers
from dovetail.errors import CheckpointError, NanLossError, StorageError
from dovetail.program.program import Program
from dovetail.run import checkpoint, checkpoint_files, retention, saving, tensor_file
from dovetail.run.config import RunConfig
from dovetail.run.saver import Saver

X, Y = torch.randn(16, 8, generator=torch.Generator().manual_seed(1)), torch.ones(16, 1)


def net(seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 300), nn.BatchNorm1d(300), nn.ReLU(), nn.Linear(300, 1))


class Counting(nn.Module):
    """Changes one of its parameters in the forward pass, from some call on."""

    def __init__(self, since: int = 0) -> None:
        super().__init__()
        self.body = nn.Linear(8, 1)
        self.calls = nn.Parameter(torch.zeros(50_000), requires_grad=False)
        self.since = since
        self.made = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.made += 1
        if self.training and self.made > self.since:
            with torch.no_grad():
                self.calls += 1
        return self.body(x)


def a_program(module: nn.Module, **kwargs: Any) -> Program:
    def model_fn(features, labels, mode):
        y = dovetail.layers.layer(module, name="net")(features)
        loss = torch.mean((y - labels) ** 2)
        return dovetail.EstimatorSpec(mode, y, loss, optimizers.Adam(0.01).minimize(loss))

    return dovetail.build(model_fn, example=(X, Y), device="cpu", **kwargs)


def a_saver(program: Program, model_dir: Path, background: bool = True, **config: Any) -> Saver:
    saver = Saver(program, model_dir, RunConfig(**config), background=background)
    program.before_update = lambda loss: saver.settle()
    return saver


def step(program: Program) -> None:
    program.train_step(X, Y)
    program.position += len(X)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Hold up writes of tensors while the returned event is not set, as at first."""
    going = threading.Event()
    real = tensor_file.write

    def write(*args: Any) -> Any:
        going.wait(20)
        return real(*args)

    monkeypatch.setattr(tensor_file, "write", write)
    yield going
    going.set()


def test_what_is_saved_is_the_state_of_its_step_while_training_goes_on(tmp_path: Path) -> None:
    program = a_program(net())
    saver = a_saver(program, tmp_path, keep_checkpoint_max=0)
    plain = net()
    adam = torch.optim.Adam(plain.parameters(), lr=0.01)
    expected = []
    saved = []
    for number in range(12):
        if number % 3 == 0:
            saver.save(number)
            expected.append((number, copy.deepcopy(plain.state_dict()), _moments(plain, adam)))
        step(program)
        saved += saver.saved()
        adam.zero_grad()
        torch.mean((plain(X) - Y) ** 2).backward()
        adam.step()
    saved += saver.wait()
    assert [saving.step_of(path) for path in saved] == [0, 3, 6, 9]
    assert saver.newest == saved[-1]
    for path, (number, tensors, moments) in zip(saved, expected, strict=True):
        loaded = checkpoint.load(path)
        assert loaded.step == number
        assert loaded.state["position"] == number * len(X)
        for name, tensor in tensors.items():
            assert torch.equal(loaded.model[f"net.{name}"], tensor), (number, name)
        for name, tensor in moments.items():
            assert torch.equal(loaded.optimizer[f"optimizer/state.net.{name}"], tensor), name


def _moments(plain: nn.Module, adam: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, parameter in plain.named_parameters()
        for key, value in adam.state.get(parameter, {}).items()
    }


def test_a_save_beside_the_training_is_the_one_that_waits(tmp_path: Path) -> None:
    for name, background in (("beside", True), ("waits", False)):
        program = a_program(net())
        saver = a_saver(program, tmp_path / name, background)
        for number in range(4):
            step(program)
            saver.save(number + 1)
        saver.wait()
    for one in checkpoint.listed(tmp_path / "beside"):
        other = tmp_path / "waits" / "checkpoints" / one.name
        for file in ("model.safetensors", "optimizer.safetensors", "state.json"):
            assert (one / file).read_bytes() == (other / file).read_bytes()


def test_a_saved_program_goes_on_bit_for_bit(tmp_path: Path) -> None:
    one = a_program(net())
    saver = a_saver(one, tmp_path)
    step(one)
    saver.save(1)
    for _ in range(3):
        step(one)
    (path,) = saver.wait()
    other = a_program(net(seed=5))
    saving.restore(other, checkpoint.load(path))
    for _ in range(3):
        step(other)
    for name, tensor in one.state().items():
        assert torch.equal(tensor, other.state()[name]), name


def test_steps_do_not_wait_for_the_disk(tmp_path: Path, disk: threading.Event) -> None:
    program = a_program(net())
    saver = a_saver(program, tmp_path)
    saver.save(0)
    for _ in range(5):
        step(program)
        assert saver.saved() == []
    disk.set()
    (path,) = saver.wait()
    assert checkpoint.load(path).step == 0
    assert saver.saved() == []


def test_a_second_save_waits_for_the_first(tmp_path: Path) -> None:
    program = a_program(net())
    saver = a_saver(program, tmp_path)
    for number in range(3):
        saver.save(number)
        step(program)
    assert [p.name for p in saver.wait()] == [f"{n:010d}" for n in range(3)]
    assert [c.step for c in map(checkpoint.load, checkpoint.listed(tmp_path))] == [0, 1, 2]


def test_waiting_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    saver = a_saver(a_program(net()), tmp_path)
    saver.save(0, wait=True)
    assert checkpoint.latest(tmp_path) == saver.newest
    saver.close()
    assert threading.active_count() == before


def test_buffers_are_kept_between_saves(tmp_path: Path) -> None:
    program = a_program(net())
    saver = a_saver(program, tmp_path)
    step(program)
    places = []
    for number in range(1, 4):
        saver.save(number)
        places.append([t.data_ptr() for group in saver._kept.values() for t in group.values()])
        step(program)
    saver.wait()
    assert places[0] == places[1] == places[2]


def test_a_parameter_that_forward_changes_is_saved_as_it_was_before(tmp_path: Path) -> None:
    program = a_program(Counting())
    saver = a_saver(program, tmp_path)
    before = []
    for number in range(4):
        before.append(program.state()["net.calls"].clone())
        saver.save(number)
        step(program)
    paths = saver.wait()
    assert [saving.step_of(p) for p in paths] == [0, 1, 2, 3]
    for path, calls in zip(paths, before, strict=True):
        assert torch.equal(checkpoint.load(path).model["net.calls"], calls)


def test_a_copy_that_forward_changed_meanwhile_is_taken_again(
    tmp_path: Path, disk: threading.Event
) -> None:
    program = a_program(Counting(since=3))  # one call builds it, two are steps
    saver = a_saver(program, tmp_path)
    disk.set()
    saver.save(0, wait=True)
    disk.clear()
    step(program)
    step(program)
    saver.save(2)
    step(program)  # changes it for the first time
    disk.set()
    saver.close()
    assert [saving.step_of(p) for p in saver.saved()] == [0]
    expected = program.state()["net.calls"].clone()
    (path,) = saver.wait()
    assert saving.step_of(path) == 3, "not of step 2, whose state is gone"
    assert torch.equal(checkpoint.load(path).model["net.calls"], expected)
    assert [saving.step_of(p) for p in checkpoint.listed(tmp_path)] == [0, 3]


def test_tied_and_transposed_parameters_come_back_so(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(8, 8)
            self.other = nn.Linear(8, 8)
            self.other.weight = self.one.weight
            self.turned = nn.Parameter(torch.randn(3, 8).t())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.other(self.one(x)) @ self.turned).sum(1, keepdim=True)

    program = a_program(Tied())
    saver = a_saver(program, tmp_path)
    saver.save(0)
    step(program)
    saver.save(1)
    expected = {name: t.clone() for name, t in program.state().items()}
    step(program)
    loaded = checkpoint.load(saver.wait()[-1]).model
    assert loaded["net.one.weight"] is loaded["net.other.weight"]
    for name, tensor in expected.items():
        assert torch.equal(loaded[name], tensor), name
        assert loaded[name].stride() == tensor.stride()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_parameter_that_is_not_finite_is_told_and_not_saved(tmp_path: Path, value: float) -> None:
    program = a_program(net())
    saver = a_saver(program, tmp_path)
    saver.save(0, wait=True)
    step(program)
    with torch.no_grad():
        program.state()["net.0.weight"][250, 3] = value
    saver.save(1)
    with pytest.raises(NanLossError, match=r"'net.0.weight' is not finite after step 1") as caught:
        saver.wait()
    assert caught.value.step == 1
    assert [saving.step_of(p) for p in checkpoint.listed(tmp_path)] == [0]
    assert saver.newest is not None
    assert saving.step_of(saver.newest) == 0


@pytest.mark.parametrize(
    "dtype", [torch.complex64, torch.bfloat16, torch.float8_e4m3fn, torch.int8]
)
def test_parameters_of_any_kind_are_looked_at(tmp_path: Path, dtype: torch.dtype) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(8, 1)
            self.odd = nn.Parameter(torch.ones(70_000).to(dtype), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    program = a_program(Odd())
    saver = a_saver(program, tmp_path)
    saver.save(0, wait=True)
    loaded = checkpoint.load(saver.wait()[0]).model["net.odd"]
    assert loaded.dtype == dtype
    if dtype != torch.int8:
        with torch.no_grad():
            program.state()["net.odd"].view(torch.uint8)[-4:] = 0xFF  # not a number in each
        step(program)
        saver.save(1)
        with pytest.raises(NanLossError, match="net.odd"):
            saver.wait()


def test_large_parameters_whose_sum_overflows_are_finite(tmp_path: Path) -> None:
    program = a_program(net())
    with torch.no_grad():
        program.state()["net.0.weight"].fill_(3e38)
    a_saver(program, tmp_path).save(0, wait=True)


def test_checks_that_are_off_let_it_be_saved(tmp_path: Path) -> None:
    program = a_program(net())
    with torch.no_grad():
        program.state()["net.0.weight"].fill_(float("nan"))
    a_saver(program, tmp_path, finite_checks="off").save(0, wait=True)
    assert checkpoint.latest(tmp_path) is not None


@pytest.mark.parametrize(
    ("call", "number"), [("write", errno.ENOSPC), ("fsync", errno.EIO), ("rename", errno.ENOSPC)]
)
def test_a_failing_disk_is_told_at_the_next_question_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    program = a_program(net())
    saver = a_saver(program, tmp_path)
    saver.save(0, wait=True)
    step(program)
    owner: Any = Path if call == "rename" else os
    real = getattr(owner, call)

    def failing(*args: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            return real(*args)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(owner, call, failing)
        saver.save(1)
        step(program)
        saver.close()
        with pytest.raises(StorageError, match=r"step 1 could not be saved.*Make room"):
            saver.saved()
    assert [saving.step_of(p) for p in checkpoint.listed(tmp_path)] == [0]
    assert [p.name for p in checkpoint_files.folder_of(tmp_path).iterdir()] == ["0000000000"]
    saver.save(2)  # the disk is well again
    assert [saving.step_of(p) for p in saver.wait()] == [0, 2]


def test_a_disk_that_fills_half_way_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = a_program(net())
    saver = a_saver(program, tmp_path)
    real, written = os.write, 0

    def filling(handle: int, data: memoryview) -> int:
        nonlocal written
        if written >= 4000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = real(handle, data[: 4000 - written])
        written += done
        return done

    monkeypatch.setattr(os, "write", filling)
    saver.save(0)
    with pytest.raises(StorageError, match="No space left on device"):
        saver.wait()
    assert checkpoint.listed(tmp_path) == []
    assert saver.newest is None


def test_no_permission_is_the_users_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = a_saver(a_program(net()), tmp_path)

    def denied(*args: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tensor_file, "write", denied)
    saver.save(0)
    with pytest.raises(CheckpointError, match="write permission") as caught:
        saver.wait()
    assert not isinstance(caught.value, OSError)


def test_a_step_that_fails_leaves_the_save_under_way_alone(tmp_path: Path) -> None:
    program = a_program(net())
    saver = a_saver(program, tmp_path)
    saver.save(0)
    with pytest.raises(RuntimeError):
        program.train_step(X[:, :3], Y)
    saver.close()
    assert saver.saved() == [checkpoint.latest(tmp_path)]


def test_averages_and_what_the_program_adds_come_back(tmp_path: Path) -> None:
    program = a_program(net(), ema_decay=0.9)
    saver = a_saver(program, tmp_path)
    step(program)
    saver.save(1)
    assert program.averages is not None
    expected = {name: t.clone() for name, t in program.averages.state().items()}
    for _ in range(3):
        step(program)
    loaded = checkpoint.load(saver.wait()[0])
    other = a_program(net(seed=5), ema_decay=0.9)
    saving.restore(other, loaded)
    assert other.averages is not None
    assert other.extra_state() == loaded.state["program"] != {}
    for name, tensor in expected.items():
        assert torch.equal(loaded.optimizer[f"average/{name}"], tensor)
        assert torch.equal(other.averages.state()[name], tensor)
    for _ in range(3):
        step(other)
    for name, tensor in program.averages.state().items():
        assert torch.equal(other.averages.state()[name], tensor), name


def test_evaluating_with_averages_beside_a_save_leaves_it_as_it_is(tmp_path: Path) -> None:
    program = a_program(net(), ema_decay=0.5)
    saver = a_saver(program, tmp_path)
    for number in range(3):
        expected = program.state()["net.0.weight"].clone()
        saver.save(number)
        with program.averaged():
            program.eval_step(X, Y)
        step(program)
        assert torch.equal(checkpoint.load(saver.wait()[0]).model["net.0.weight"], expected)


def test_what_need_not_be_kept_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = a_program(net())
    saver = a_saver(program, tmp_path, keep_checkpoint_max=2)
    for number in range(2):
        saver.save(number)
        step(program)
    saver.wait()
    real = checkpoint_files.publish

    def full(folder: Path, name: str, *args: Any, **kwargs: Any) -> Path:
        if len(checkpoint_files.listed(folder)) == 2:
            raise StorageError(f"No room for checkpoint {name}")
        return real(folder, name, *args, **kwargs)

    monkeypatch.setattr(checkpoint_files, "publish", full)
    saver.save(2)
    assert [saving.step_of(p) for p in saver.wait()] == [2]
    assert [saving.step_of(p) for p in checkpoint.listed(tmp_path)] == [1, 2]


def test_the_best_and_the_newest_are_kept(tmp_path: Path) -> None:
    program = a_program(net())
    saver = a_saver(program, tmp_path, keep_checkpoint_max=1, keep_checkpoint_best=1)
    for number in range(4):
        saver.save(number)
        retention.report(tmp_path, number, {"loss": abs(number - 1)})
        step(program)
    saver.wait()
    assert [saving.step_of(p) for p in checkpoint.listed(tmp_path)] == [1, 3]


def test_the_runs_own_state_is_saved_as_it_is_at_that_step(tmp_path: Path) -> None:
    program = a_program(net())
    at = {"input": {"drawn": 0}}
    saver = Saver(program, tmp_path, RunConfig(), state=lambda: at)
    program.before_update = lambda loss: saver.settle()
    saver.save(0)
    at["input"]["drawn"] = 16
    step(program)
    assert checkpoint.load(saver.wait()[0]).state["input"] == {"drawn": 0}

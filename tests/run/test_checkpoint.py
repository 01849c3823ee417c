"""Checkpoints: whole or not there, damage found, the one before kept."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from dovetail.errors import CheckpointError, StorageError
from dovetail.run import checkpoint, retention

FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
STATE = {"position": 96, "seed": 3, "params": {"rate": 0.1, "layers": [1, 2]}}


def _save(model_dir: Path, step: int, *, fill: float | None = None) -> Path:
    number = float(step) if fill is None else fill
    model = {"w": torch.full((3, 2), number), "b": torch.full((), number)}
    return checkpoint.save(model_dir, step, model, {"state.w.m": torch.ones(2)}, STATE)


def _names(model_dir: Path) -> list[str]:
    return sorted(p.name for p in (model_dir / "checkpoints").iterdir())


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = _save(tmp_path, 12)
    assert path == tmp_path / "checkpoints" / "0000000012"
    loaded = checkpoint.load(str(path))
    assert (loaded.step, loaded.state) == (12, STATE)
    assert loaded.model["w"].equal(torch.full((3, 2), 12.0))
    assert loaded.optimizer["state.w.m"].equal(torch.ones(2))
    assert sorted(p.name for p in path.iterdir()) == sorted(FILES)


def test_files_are_plain_safetensors_and_json(tmp_path: Path) -> None:
    path = _save(tmp_path, 5)
    assert set(safetensors.torch.load_file(path / FILES[0])) == {"w", "b"}
    state = json.loads((path / "state.json").read_text())
    assert (state["format"], state["step"], state["position"], state["seed"]) == (1, 5, 96, 3)
    assert state["files"][FILES[0]]["bytes"] == (path / FILES[0]).stat().st_size
    modes = {(path / name).stat().st_mode for name in FILES}
    assert len(modes) == 1, "readable by the same people"


def test_optimizer_values_come_back_exactly(tmp_path: Path) -> None:
    values = {
        "lr": 0.1 + 0.2,
        "betas": (0.9, 0.999),
        "eps": 5e-324,
        "foreach": None,
        "amsgrad": False,
        "count": 2**70,
        "limits": [float("inf"), -0.0, ("a", None)],
        "history": [torch.arange(3), (torch.ones(2), 1)],
        "nested": {"d": torch.zeros(2, dtype=torch.float64)},
    }
    loaded = checkpoint.load(checkpoint.save(tmp_path, 1, {}, values, {})).optimizer
    assert set(loaded) == set(values)
    for key in ("lr", "betas", "eps", "foreach", "amsgrad", "count", "limits"):
        assert repr(loaded[key]) == repr(values[key])
    assert loaded["history"][0].equal(torch.arange(3))
    assert loaded["history"][1][0].equal(torch.ones(2))
    assert loaded["nested"]["d"].dtype == torch.float64


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.listed(tmp_path / "absent") == []
    assert checkpoint.latest_good(tmp_path, report=pytest.fail) is None


def test_steps_are_listed_as_numbers(tmp_path: Path) -> None:
    for step in (10_000_000_000, 9, 100):
        _save(tmp_path, step)
    (tmp_path / "checkpoints" / "notes").mkdir()
    assert [int(p.name) for p in checkpoint.listed(tmp_path)] == [9, 100, 10_000_000_000]
    latest = checkpoint.latest(tmp_path)
    assert latest is not None
    assert latest.name == "10000000000"


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_byte_is_found(tmp_path: Path, name: str) -> None:
    path = _save(tmp_path, 2)
    whole = (path / name).read_bytes()
    for place in range(len(whole)):
        (path / name).write_bytes(
            whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :]
        )
        with pytest.raises(CheckpointError, match=re.escape(name)):
            checkpoint.load(path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("left", [0, 1, 70, -1])
def test_a_file_cut_short_is_found(tmp_path: Path, name: str, left: int) -> None:
    path = _save(tmp_path, 2)
    (path / name).write_bytes((path / name).read_bytes()[:left])
    with pytest.raises(CheckpointError, match=re.escape(f"{name} is damaged")):
        checkpoint.load(path)


@pytest.mark.parametrize("name", FILES)
def test_the_checkpoint_before_a_damaged_one_is_used(tmp_path: Path, name: str) -> None:
    _save(tmp_path, 1)
    (_save(tmp_path, 2) / name).unlink()
    reports: list[str] = []
    good = checkpoint.latest_good(tmp_path, reports.append)
    assert good is not None
    assert good.step == 1
    assert len(reports) == 1
    assert str(Path("0000000002") / name) in reports[0]
    assert "missing" in reports[0]


def test_all_damaged_is_an_error_and_not_a_fresh_start(tmp_path: Path) -> None:
    for step in (1, 2):
        (_save(tmp_path, step) / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match="All 2 checkpoints"):
        checkpoint.latest_good(tmp_path, lambda _: None)


def test_an_unreadable_file_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)

    def denied(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(CheckpointError, match=r"cannot be read: Permission denied"):
        checkpoint.latest_good(tmp_path, pytest.fail)


def test_an_absent_checkpoint_names_those_there_are(tmp_path: Path) -> None:
    _save(tmp_path, 8)
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*0000000009.*0000000008"):
        checkpoint.load(tmp_path / "checkpoints" / "0000000009")


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("dovetail.run.checkpoint_files.FORMAT", 9)
        _save(tmp_path, 8)
    with pytest.raises(CheckpointError, match="newer Dovetail"):
        checkpoint.latest_good(tmp_path, pytest.fail)


def test_a_moved_model_dir_still_loads(tmp_path: Path) -> None:
    _save(tmp_path / "a", 3)
    (tmp_path / "a").rename(tmp_path / "b")
    good = checkpoint.latest_good(tmp_path / "b", pytest.fail)
    assert good is not None
    assert good.step == 3


def test_names_and_values(tmp_path: Path) -> None:
    tied = torch.arange(6.0).view(2, 3).t()
    model = {"z.weight": tied, "a": torch.ones(2), "tied": tied}
    path = checkpoint.save(tmp_path, 4, model, {}, {})
    assert checkpoint.names(path) == ["global_step", "z.weight", "a", "tied"]
    assert checkpoint.value(path, "tied").equal(tied)
    assert checkpoint.value(path, "global_step").item() == 4
    with pytest.raises(CheckpointError, match=r"'z.wight'.* Did you mean 'z.weight'"):
        checkpoint.value(path, "z.wight")


def test_a_snapshot_in_kept_buffers_may_be_written_later(tmp_path: Path) -> None:
    kept: dict[str, dict[str, torch.Tensor]] = {}
    weight, moment = torch.ones(4, 3).t(), torch.ones(2)
    for step in (1, 2):
        taken = checkpoint.snapshot(step, {"w": weight}, {"m": moment}, {}, kept=kept)
        address = kept["model"]["w"].data_ptr()
        weight.add_(1)
        moment.zero_()
        loaded = checkpoint.load(checkpoint.write(tmp_path, taken))
        assert loaded.model["w"].equal(torch.full((3, 4), float(step)))
        assert loaded.model["w"].stride() == weight.stride()
        assert loaded.optimizer["m"].equal(torch.full((2,), float(step == 1)))
        assert kept["model"]["w"].data_ptr() == address


def test_a_tensor_in_the_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"state\['x'\] is a tensor"):
        checkpoint.save(tmp_path, 1, {}, {}, {"x": torch.ones(2)})


class Killed(BaseException):
    """Stands for SIGKILL: from here on nothing of the process reaches the disk."""


@contextlib.contextmanager
def killed_at(count: int) -> Iterator[None]:
    """Every call that changes the disk is counted; from the given one on each dies before it."""
    done: list[str] = []

    def guard(owner: object, name: str, patch: pytest.MonkeyPatch) -> None:
        real = getattr(owner, name)

        def guarded(*args: object, **kwargs: object) -> object:
            if len(done) == count and name == "rmtree":  # dies in the middle of it
                inside = sorted(Path(str(args[0])).iterdir())
                if inside:
                    inside[0].unlink()
            if len(done) >= count:
                done.append("killed")
                raise Killed
            done.append(name)
            return real(*args, **kwargs)

        patch.setattr(owner, name, guarded)

    with pytest.MonkeyPatch.context() as patch:
        guard(os, "fsync", patch)
        guard(os, "open", patch)
        guard(os, "write", patch)
        guard(shutil, "rmtree", patch)
        for name in ("mkdir", "rename", "write_bytes", "chmod"):
            guard(Path, name, patch)
        yield


@pytest.mark.parametrize("again", [False, True])
def test_a_kill_at_any_moment_leaves_only_whole_checkpoints(tmp_path: Path, again: bool) -> None:
    finished = False
    for count in range(40):
        model_dir = tmp_path / str(count)
        _save(model_dir, 1)
        _save(model_dir, 2)
        with killed_at(count), contextlib.suppress(Killed):
            path = _save(model_dir, 2 if again else 3, fill=7.0)
            retention.prune(model_dir, retention.Policy(last=2), current=path)
            finished = True
        found = [checkpoint.load(path) for path in checkpoint.listed(model_dir)]
        assert [c.step for c in found] in ([1, 2], [1, 2, 3], [2, 3])
        new = [c.model["b"].item() == 7.0 for c in found]
        assert new in ([False, False], [False, True], [False, False, True])
        last = _save(model_dir, 4)
        kept = [p.name for p in checkpoint.listed(model_dir)]
        assert _names(model_dir) == kept, "nothing is left over"
        assert checkpoint.load(last).step == 4
        if finished:
            break
    assert finished
    assert count > 10


def test_a_write_that_fails_half_way_keeps_the_one_before(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = {"w": torch.zeros(100_000)}
    for bad in (big, {}), ({}, big):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(StorageError, match=r"step 2 could not be saved.*Make room"):
                checkpoint.save(tmp_path, 2, *bad, {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _names(tmp_path) == ["0000000001"]
    assert checkpoint.load(tmp_path / "checkpoints" / "0000000001").step == 1


def test_no_room_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _save(tmp_path, 1)
    usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match=r"No room .*5\.0 MB and 2\.0 MB are free"):
        checkpoint.save(tmp_path, 2, {"w": torch.zeros(1_000_000)}, {}, {})
    _save(tmp_path, 3)
    assert _names(tmp_path) == ["0000000001", "0000000003"]


def test_no_permission_is_said_and_keeps_the_one_before(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    folder = tmp_path / "checkpoints"
    folder.chmod(0o500)
    root = os.geteuid() == 0
    try:
        if root:  # whom no mode keeps out
            os.seteuid(65534)
        with pytest.raises(CheckpointError, match=r"ermission"):
            _save(tmp_path, 2)
        if root:
            with pytest.raises(CheckpointError, match="cannot be"):
                checkpoint.load(folder / "0000000001")
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)
    good = checkpoint.latest_good(tmp_path, pytest.fail)
    assert good is not None
    assert good.step == 1
    assert _names(tmp_path) == ["0000000001"]


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(CheckpointError, match="could not be saved"):
        _save(tmp_path / "run", 1)


def test_differences_of_names_are_listed() -> None:
    shapes = {f"layer{i}.weight": (i, 2) for i in range(12)}
    assert checkpoint.compare_names(shapes, {n: list(s) for n, s in shapes.items()}) is None
    text = checkpoint.compare_names(shapes, {"layer3.weight": (9, 2), "other": ()})
    assert text is not None
    missing, extra, other = text.splitlines()
    assert missing.startswith("missing in the checkpoint (11): layer0.weight (0, 2), ")
    assert missing.endswith(", and 1 more")
    assert extra == "only in the checkpoint (1): other ()"
    assert other == "of another shape (1): layer3.weight (expected (3, 2), found (9, 2))"


def test_the_newest_good_one_is_named(tmp_path: Path) -> None:
    assert checkpoint.latest_good_path(tmp_path) is None
    paths = [_save(tmp_path, step) for step in range(3)]
    assert checkpoint.latest_good_path(tmp_path) == paths[2]
    (paths[2] / "state.json").write_text("{}")
    assert checkpoint.latest_good_path(tmp_path) == paths[1]
    (paths[1] / "model.safetensors").unlink()
    assert checkpoint.latest_good_path(tmp_path) == paths[0]
    (paths[0] / "optimizer.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"0000000002.*state.json is damaged"):
        checkpoint.latest_good_path(tmp_path)


def test_what_was_found_good_is_not_read_again_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save(tmp_path, 1)
    for name in FILES:
        os.utime(path / name, (1e9, 1e9))
    assert checkpoint.latest_good_path(tmp_path) == path
    with monkeypatch.context() as patch:
        patch.setattr("dovetail.run.checkpoint_files.verify", pytest.fail)
        assert checkpoint.latest_good_path(tmp_path) == path
    data = (path / FILES[0]).read_bytes()
    (path / FILES[0]).write_bytes(data[:-1] + b"!")
    with pytest.raises(CheckpointError, match="model.safetensors is damaged"):
        checkpoint.latest_good_path(tmp_path)


def test_unnamed_keras_layers_of_a_second_model_are_told_of(monkeypatch: pytest.MonkeyPatch):
    first = {"model.dense.bias": (3,), "model.dense_1.bias": (3,), "step": ()}
    second = {"model.dense_1.bias": (3,), "model.dense_2.bias": (3,), "step": ()}
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    text = checkpoint.compare_names(second, first)
    assert text is not None
    assert text.splitlines()[-1].startswith("the names differ in their numbers alone: Keras counts")
    other = checkpoint.compare_names({"model.dense_2.bias": (3,), "model.a": ()}, first)
    assert other is not None
    assert "numbers alone" not in other

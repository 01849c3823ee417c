"""Whole runs and what they keep on the disk: which checkpoints, whose folder, a disk that fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dovetail.errors import ModelDirInUseError, StorageError
from dovetail.run import checkpoint, lock
from dovetail.run.estimator import Estimator

Make = Callable[..., Estimator]


def steps(estimator: Estimator) -> list[int]:
    return [int(path.name) for path in checkpoint.listed(estimator.model_dir)]


def damage(path: Path) -> None:
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "model.safetensors").write_bytes(data)


def test_a_run_keeps_the_newest_and_those_of_every_so_many_steps(make: Make, records: Path) -> None:
    run = make(
        save_checkpoints_steps=2, keep_checkpoint_max=1, keep_checkpoint_every_steps=4
    ).train(records, max_steps=10)
    assert steps(run) == [0, 4, 8, 10]


def test_the_latest_checkpoint_is_the_good_one_after_going_back_past_damage(
    make: Make, records: Path
) -> None:
    make(save_checkpoints_steps=4).train(records, max_steps=8)
    run = make()
    damaged, good = checkpoint.listed(run.model_dir)[-1], checkpoint.listed(run.model_dir)[-2]
    damage(damaged)
    assert run.latest_checkpoint() == str(good)
    assert run.get_variable_value("global_step") == 4
    run.train(records, steps=2)
    assert run.latest_checkpoint() == str(good.with_name("0000000006"))
    assert steps(run) == [0, 4, 6, 8]
    run.train(records, steps=2)
    assert run.latest_checkpoint() == str(damaged), "which is replaced by a good one"
    assert checkpoint.load(damaged).step == 8


def test_a_second_run_is_kept_out_and_reading_is_not(
    make: Make, records: Path, assert_same_state: Callable[..., None]
) -> None:
    run = make().train(records, max_steps=2)
    with lock.held(run.model_dir, pytest.fail):
        with pytest.raises(ModelDirInUseError, match="is in use by process"):
            make().train(records, max_steps=4)
        assert make().evaluate(records)["global_step"] == 2
        assert len(list(make().predict(records))) == 37
    assert steps(run) == [0, 2]
    make().train(records, max_steps=4)


def test_a_run_on_a_full_disk_stops_and_goes_on_when_there_is_room(
    make: Make,
    records: Path,
    monkeypatch: pytest.MonkeyPatch,
    assert_same_state: Callable[..., None],
) -> None:
    whole = make("whole", save_checkpoints_steps=3).train(records, max_steps=9)
    size = sum(
        p.stat().st_size for p in Path(whole.latest_checkpoint() or "").glob("*.safetensors")
    )
    real, left = os.write, 2 * size + size // 2

    def filling(handle: int, data: memoryview) -> int:
        nonlocal left
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left -= len(data)
        return real(handle, data)

    with monkeypatch.context() as patch:
        patch.setattr("dovetail.run.tensor_file.os.write", filling)
        with pytest.raises(StorageError, match=r"No space left on device.*start the same command"):
            make(save_checkpoints_steps=3).train(records, max_steps=9)
    run = make(save_checkpoints_steps=3)
    assert 9 not in steps(run)
    for path in checkpoint.listed(run.model_dir):
        checkpoint.load(path)
    run.train(records, max_steps=9)
    assert_same_state(whole, run)

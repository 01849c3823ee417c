"""Which checkpoints stay: the newest, those of every so many steps or hours, and the best."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import pytest
import torch

from dovetail.errors import CheckpointError, StorageError
from dovetail.run import checkpoint, retention
from dovetail.run.config import RunConfig
from dovetail.run.retention import Policy

HOUR = 3600.0


def saved(model_dir: Path, step: int, policy: Policy, hours: float = 0.0) -> list[int]:
    """Save a checkpoint and prune, as a run does; return the steps that are there."""
    retention.forget(model_dir, step)
    path = checkpoint.save(model_dir, step, {"w": torch.ones(2)}, {}, {})
    retention.prune(model_dir, policy, current=path, clock=lambda: hours * HOUR)
    return steps(model_dir)


def steps(model_dir: Path) -> list[int]:
    return [int(path.name) for path in checkpoint.listed(model_dir)]


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in range(10, 60, 10):
        found = saved(tmp_path, step, Policy(last=2))
    assert found == [40, 50]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "0000000040",
        "0000000050",
    ], "no record is made where no rule needs one"


def test_none_is_deleted_where_all_are_kept(tmp_path: Path) -> None:
    for step in range(7):
        found = saved(tmp_path, step, Policy(last=0, every_steps=2, best=1))
    assert found == list(range(7))


def test_multiples_of_a_number_of_steps_stay(tmp_path: Path) -> None:
    for step in range(0, 110, 10):
        found = saved(tmp_path, step, Policy(last=1, every_steps=40))
    assert found == [0, 40, 80, 100]


def test_one_in_some_hours_stays_over_restarts(tmp_path: Path) -> None:
    policy = Policy(last=1, every_hours=2)
    for step, hours in enumerate((0, 0.5, 1, 1.5, 2.1, 3, 4, 4.2, 5, 6.5, 7)):
        found = saved(tmp_path, step, policy, hours)
    assert found == [4, 7, 9, 10]


def test_the_best_stay_whichever_way_the_metric_goes(tmp_path: Path) -> None:
    values = {1: 0.5, 2: 0.9, 3: 0.1, 4: 0.7, 5: 0.3, 6: 0.4}
    for lower, expected in ((True, [3, 5, 6]), (False, [2, 4, 6])):
        folder = tmp_path / str(lower)
        policy = Policy(last=1, best=2, metric="score", lower=lower)
        for step, value in values.items():
            found = saved(folder, step, policy)
            retention.report(folder, step, {"score": value})
        assert found == expected
        assert retention.best(folder, policy) == ([3, 5] if lower else [2, 4])


def test_a_worse_one_after_a_restart_never_replaces_the_best(tmp_path: Path) -> None:
    policy = Policy(last=1, best=1)
    saved(tmp_path, 1, policy)
    retention.report(tmp_path, 1, {"loss": 0.1})
    for step in range(2, 8):
        saved(tmp_path, step, policy)
        retention.report(tmp_path, step, {"loss": 0.1 + step / 100})
    assert steps(tmp_path) == [1, 7]


def test_equal_ones_and_those_that_are_not_finite_never_replace_the_best(tmp_path: Path) -> None:
    policy = Policy(last=1, best=1, metric="accuracy", lower=False)
    for step, value in enumerate((0.5, 0.5, math.nan, math.inf, 0.4)):
        saved(tmp_path, step, policy)
        retention.report(tmp_path, step, {"accuracy": value})
    assert steps(tmp_path) == [0, 4]
    assert retention.best(tmp_path, policy) == [0]


def test_metrics_reported_before_the_checkpoint_is_whole_count(tmp_path: Path) -> None:
    policy = Policy(last=1, best=1)
    for step, loss in ((1, 0.1), (2, 0.9), (3, 0.8)):
        retention.report(tmp_path, step, {"loss": loss})  # while it is being written
        path = checkpoint.save(tmp_path, step, {}, {}, {})
        retention.prune(tmp_path, policy, current=path)
    assert steps(tmp_path) == [1, 3]


def test_an_evaluation_with_a_name_has_metrics_of_its_own(tmp_path: Path) -> None:
    retention.report(tmp_path, 5, {"loss": 1.0, "matrix": [1, 2], "x": torch.tensor(2.0)})
    retention.report(tmp_path, 5, {"loss": 2.0}, name="test")
    assert retention.reported(tmp_path) == {5: {"loss": 1.0, "x": 2.0, "test/loss": 2.0}}


def test_a_step_that_is_trained_again_has_no_metrics_of_before(tmp_path: Path) -> None:
    policy = Policy(last=1, best=1)
    for step, loss in ((1, 0.5), (2, 0.1)):
        saved(tmp_path, step, policy)
        retention.report(tmp_path, step, {"loss": loss})
    assert saved(tmp_path, 2, policy) == [1, 2], "2 is kept as the current one"
    assert retention.reported(tmp_path) == {1: {"loss": 0.5}}
    assert saved(tmp_path, 3, policy) == [1, 3]


def test_those_after_the_current_one_are_left_alone(tmp_path: Path) -> None:
    policy = Policy(last=2)
    for step in (1, 2, 3, 9):
        checkpoint.save(tmp_path, step, {}, {}, {})
    assert saved(tmp_path, 4, policy) == [3, 4, 9]


def test_the_record_stays_small(tmp_path: Path) -> None:
    policy = Policy(last=2, best=1)
    for step in range(30):
        saved(tmp_path, step, policy)
        retention.report(tmp_path, step, {"loss": float(step)})
    record = json.loads((tmp_path / "checkpoints" / "metrics.json").read_text())
    assert {"0", "28", "29"} <= set(record["metrics"])
    assert len(record["metrics"]) <= 4
    assert len(record["saved"]) <= 5


def test_room_is_made_by_what_the_coming_one_will_replace(tmp_path: Path) -> None:
    policy = Policy(last=3, best=1)
    for step, loss in enumerate((0.1, 0.5, 0.4, 0.3)):
        saved(tmp_path, step, policy)
        retention.report(tmp_path, step, {"loss": loss})
    assert [p.name for p in retention.make_room(tmp_path, policy, coming=4)] == ["0000000001"]
    assert steps(tmp_path) == [0, 2, 3]
    assert retention.make_room(tmp_path, Policy(last=1), coming=4) != []
    assert steps(tmp_path) == [3], "the newest stays until there is another"
    assert retention.make_room(tmp_path, Policy(last=1), coming=4) == []
    assert retention.make_room(tmp_path, Policy(last=0), coming=4) == []
    assert retention.make_room(tmp_path / "absent", policy, coming=4) == []


def test_room_is_not_made_by_the_only_good_one(tmp_path: Path) -> None:
    paths = [checkpoint.save(tmp_path, step, {}, {}, {}) for step in range(3)]
    (paths[2] / "model.safetensors").write_bytes(b"")
    assert len(retention.make_room(tmp_path, Policy(last=1), coming=3)) == 1
    assert steps(tmp_path) == [1, 2]


def test_a_failed_write_of_the_record_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retention.report(tmp_path, 1, {"loss": 0.5})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"metrics.json could not be written.*Make room"):
            retention.report(tmp_path, 2, {"loss": 0.4})
    assert retention.reported(tmp_path) == {1: {"loss": 0.5}}


@pytest.mark.parametrize("text", ["", "{", '{"metrics": {}}', "[]", '{"metrics": 3}'])
def test_a_damaged_record_is_told_with_the_cure(tmp_path: Path, text: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "metrics.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"metrics.json is damaged .*delete it"):
        retention.reported(tmp_path)


def test_the_settings_of_a_run_say_what_is_kept() -> None:
    config = RunConfig(
        keep_checkpoint_max=3,
        keep_checkpoint_every_steps=100,
        keep_checkpoint_every_n_hours=0.5,
        keep_checkpoint_best=2,
        best_metric="held_out/accuracy",
    )
    assert Policy.of(config) == Policy(3, 100, 0.5, 2, "held_out/accuracy", False)
    assert Policy.of(RunConfig()) == Policy(last=5)
    assert Policy.of(RunConfig(best_metric="accuracy", best_is="lower")).lower
    assert not Policy.of(RunConfig(best_is="higher")).lower

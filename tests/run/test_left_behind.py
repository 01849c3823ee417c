"""What lies in a model_dir: the newest checkpoint, whole or not, and the last evaluations."""

from __future__ import annotations

import shutil
import time

import pytest
import torch

from dovetail.run import checkpoint, checkpoint_files
from dovetail.run.left_behind import last_evaluations, newest_checkpoint
from dovetail.run.summaries import SummaryWriter


def saved(folder, *steps):
    return [checkpoint.save(folder, step, {"w": torch.ones(3)}, {}, {}) for step in steps]


def test_the_newest_checkpoint_is_found_with_its_age(tmp_path):
    assert newest_checkpoint(tmp_path, 0.0) is None
    path = saved(tmp_path, 5, 9)[-1]
    found = newest_checkpoint(tmp_path, time.time() + 60)
    assert found is not None
    assert (found.step, found.whole, found.count, found.path) == (9, True, 2, str(path))
    assert 59 < found.age_secs < 75


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["shorter", "longer", "gone"])
def test_a_checkpoint_with_a_file_of_another_length_is_not_whole(tmp_path, name, how):
    (path,) = saved(tmp_path, 5)
    content = (path / name).read_bytes()
    if how == "gone":
        (path / name).unlink()
    else:
        (path / name).write_bytes(content[:-1] if how == "shorter" else content + b" ")
    found = newest_checkpoint(tmp_path, time.time())
    assert found is not None
    assert found.whole is False


def test_one_that_is_removed_while_it_is_looked_at_is_passed_over(tmp_path, monkeypatch):
    older, newest = saved(tmp_path, 5, 9)
    read = checkpoint_files.read_state

    def removed(path):
        if path.parent == newest:
            shutil.rmtree(newest)
        return read(path)

    monkeypatch.setattr(checkpoint_files, "read_state", removed)
    found = newest_checkpoint(tmp_path, time.time())
    assert found is not None
    assert found.path == str(older)


def test_each_evaluation_s_last_metrics_are_found(tmp_path):
    for name, step, accuracy in (("eval", 1, 0.25), ("eval", 2, 0.5), ("eval_hard", 1, 0.125)):
        with SummaryWriter(tmp_path / name) as writer:
            writer.scalars({"accuracy": accuracy}, step)
    (tmp_path / "eval_empty").mkdir()
    (tmp_path / "evaluate.py").touch()
    assert last_evaluations(tmp_path) == {
        "": {"step": 2, "metrics": {"accuracy": 0.5}},
        "hard": {"step": 1, "metrics": {"accuracy": 0.125}},
    }

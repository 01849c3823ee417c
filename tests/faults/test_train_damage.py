"""A checkpoint with a damaged file: named, passed over, and the run ends bit-equal all the same."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dovetail.errors import CheckpointError
from dovetail.run import checkpoint

FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


DAMAGES = {"flip": flip, "cut": cut}


@pytest.fixture(scope="module")
def stopped(command: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after some checkpoints."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    fault = {"folder": str(folder / "checkpoints"), "at": 90, "do": "kill"}
    command.run(folder, fault)
    assert len(checkpoint.listed(folder)) > 1
    return folder


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_and_the_run_goes_on_from_the_checkpoint_before(
    name: str,
    damage: str,
    command: Any,
    whole: Path,
    stopped: Path,
    tmp_path: Path,
    same_end: Callable[[Path, Path], None],
    soak: bool,
) -> None:
    rng = random.Random(f"{name} {damage}")
    for trial in range(20 if soak else 1):
        model_dir = tmp_path / str(trial)
        shutil.copytree(stopped, model_dir)
        before, newest = checkpoint.listed(model_dir)[-2:]
        DAMAGES[damage](newest / name, rng)
        ended = command.done(model_dir)
        assert f"{newest.name} is passed over" in ended.err
        assert f"{newest / name} is damaged" in ended.err
        assert f"step {int(before.name) + 1}/" in ended.err
        same_end(whole, model_dir)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_anywhere_in_a_file_is_detected(
    name: str, damage: str, stopped: Path, tmp_path: Path, soak: bool
) -> None:
    rng = random.Random(f"{damage} {name}")
    newest = checkpoint.listed(stopped)[-1]
    for _ in range(2000 if soak else 60):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(newest, tmp_path / "copy")
        DAMAGES[damage](tmp_path / "copy" / name, rng)
        with pytest.raises(CheckpointError, match=f"{name} is damaged"):
            checkpoint.load(tmp_path / "copy")


def test_a_file_that_is_gone_is_named_too(
    command: Any, whole: Path, stopped: Path, tmp_path: Path, same_end: Callable[[Path, Path], None]
) -> None:
    model_dir = tmp_path / "run"
    shutil.copytree(stopped, model_dir)
    newest = checkpoint.listed(model_dir)[-1]
    (newest / "optimizer.safetensors").unlink()
    assert f"{newest / 'optimizer.safetensors'} is missing" in command.done(model_dir).err
    same_end(whole, model_dir)


def test_where_all_checkpoints_are_damaged_nothing_is_begun_anew(
    command: Any, stopped: Path, tmp_path: Path
) -> None:
    model_dir = tmp_path / "run"
    shutil.copytree(stopped, model_dir)
    for path in checkpoint.listed(model_dir):
        flip(path / "model.safetensors", random.Random(path.name))
    ended = command.run(model_dir)
    assert ended.code == 1
    assert "checkpoints" in ended.err
    assert "are damaged" in ended.err
    assert "Traceback" not in ended.err


def test_a_model_dir_that_was_moved_is_gone_on_from(
    command: Any, whole: Path, stopped: Path, tmp_path: Path, same_end: Callable[[Path, Path], None]
) -> None:
    shutil.copytree(stopped, tmp_path / "old" / "place")
    (tmp_path / "old").rename(tmp_path / "new")
    ended = command.done(tmp_path / "new" / "place")
    assert "step 1/" not in ended.err
    same_end(whole, tmp_path / "new" / "place")

"""A disk that is full or fails: the run says so and ends, and nothing that was there is lost."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dovetail.run import checkpoint

FAILURE = 3  # the exit code


def one_message(err: str) -> str:
    """Return the error message in what a run wrote, which must be one, without a traceback."""
    assert "Traceback" not in err
    _, *messages = re.split(r"^error:", err, flags=re.MULTILINE)
    assert len(messages) == 1, err
    return messages[0]


@pytest.mark.parametrize(
    ("do", "only"),
    [
        ("EIO", "os.fsync"),
        ("ENOSPC", "os.mkdir"),
        ("EIO", "os.rename"),
        ("ENOSPC", "open"),
    ],
)
def test_a_run_whose_disk_fails_ends_with_one_message_and_goes_on_when_it_is_mended(
    do: str,
    only: str,
    command: Any,
    whole: Path,
    tmp_path: Path,
    same_end: Callable[[Path, Path], None],
    all_load: Callable[[Path], list[int]],
    soak: bool,
) -> None:
    for at in range(1, 40, 3) if soak else (9,):
        model_dir = tmp_path / str(at)
        fault = {"folder": str(model_dir), "like": "/checkpoints", "only": only}
        ended = command.run(model_dir, {**fault, "at": at, "do": do})
        if ended.code == 0:  # so often it does not come in a run
            assert at > 9
            break
        assert ended.code == FAILURE, ended.err
        assert "heckpoint" in one_message(ended.err)
        loaded = all_load(model_dir)
        assert loaded or at < 9  # the first may not have been there
        command.done(model_dir)
        all_load(model_dir)
        same_end(whole, model_dir)


@pytest.fixture(scope="module")
def wide(command: Any) -> Any:
    """A command whose checkpoints are large beside all else that a run writes: about 1 MB."""
    return replace(command, flags=(*command.flags, "--set", "model.width=2000"))


@pytest.fixture(scope="module")
def wide_whole(wide: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide") / "run"
    wide.done(folder)
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("share", [0.1, 0.99])
def test_a_write_that_fails_half_way_leaves_what_was_there(
    name: str,
    share: float,
    wide: Any,
    wide_whole: Path,
    tmp_path: Path,
    same_end: Callable[[Path, Path], None],
    all_load: Callable[[Path], list[int]],
) -> None:
    model_dir = tmp_path / "run"
    newest = checkpoint.latest(wide_whole)
    assert newest is not None
    size = (newest / name).stat().st_size
    limit = {"do": "limit", "bytes": int(size * share), "like": "/checkpoints", "at": 30}
    ended = wide.run(model_dir, {"folder": str(model_dir), **limit})
    assert ended.code == FAILURE, ended.err
    assert "could not be saved" in one_message(ended.err)
    assert all_load(model_dir)
    wide.done(model_dir)
    same_end(wide_whole, model_dir)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 9 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=9m", "none", str(place)]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here to make a small file system with")
    if tried.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {tried.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_run_on_a_full_disk_ends_with_what_was_saved_and_goes_on_when_there_is_room(
    wide: Any,
    wide_whole: Path,
    small_disk: Path,
    same_end: Callable[[Path, Path], None],
    all_load: Callable[[Path], list[int]],
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 7_000_000)
    model_dir = small_disk / "run"
    ended = wide.run(model_dir)
    assert ended.code == FAILURE, ended.err
    assert "No room" in one_message(ended.err)
    assert all_load(model_dir)
    ballast.unlink()
    room = ("--keep-checkpoint-max", "1")
    ended = wide.run(model_dir, None, *room)
    assert ended.code == 0, ended.err
    same_end(wide_whole, model_dir)


@pytest.mark.parametrize("at", [25, 60])
def test_a_disk_that_others_fill_up_while_a_run_writes_ends_it_with_one_message(
    at: int,
    command: Any,
    whole: Path,
    small_disk: Path,
    same_end: Callable[[Path, Path], None],
    all_load: Callable[[Path], list[int]],
) -> None:
    model_dir = small_disk / "run"
    fault = {"folder": str(small_disk), "at": at, "do": "fill", "like": "/checkpoints"}
    ended = command.run(model_dir, fault)
    assert ended.code == FAILURE, ended.err
    one_message(ended.err)
    assert all_load(model_dir)
    (small_disk / "ballast").unlink()
    command.done(model_dir)
    same_end(whole, model_dir)

"""Directories that appear whole: what is left of killed saves, and readers beside a writer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dovetail.errors import CheckpointError
from dovetail.run import checkpoint_files as files


def _fill(path: Path) -> None:
    (path / "a").write_text("new")


def test_a_replaced_directory_fills_the_gap_until_the_new_one_is_there(tmp_path: Path) -> None:
    old = tmp_path / ".replaced-0000000003"
    old.mkdir()
    assert files.listed(tmp_path) == {3: old}, "a reader sees it, and changes nothing"
    files.settle(tmp_path)
    assert files.listed(tmp_path) == {3: tmp_path / "0000000003"}
    old.mkdir()
    assert files.listed(tmp_path) == {3: tmp_path / "0000000003"}
    files.settle(tmp_path)
    assert not old.exists()


def test_everything_is_synced_before_the_name_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    final, real = tmp_path / "0000000001", os.fsync

    def fsync(handle: int) -> None:
        seen.append((Path(os.readlink(f"/proc/self/fd/{handle}")).name, final.exists()))
        real(handle)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to tell which file is synced")
    monkeypatch.setattr(os, "fsync", fsync)
    files.publish(tmp_path, final.name, _fill, size=1)
    assert seen == [("a", False), (".saving-0000000001", False), (tmp_path.name, True)]


def test_a_failed_rename_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.publish(tmp_path, "0000000001", lambda p: (p / "a").write_text("old"), size=1)  # pyright: ignore
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name.startswith(".saving-"):
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="Input/output"):
        files.publish(tmp_path, "0000000001", _fill, size=1)
    assert (tmp_path / "0000000001" / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["0000000001"]


def test_state_that_is_not_ours_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"step": 1}')
    with pytest.raises(files.DamagedError, match=r"state\.json is damaged"):
        files.read_state(path)
    assert issubclass(files.DamagedError, CheckpointError)


def test_state_keeps_its_content_and_is_json(tmp_path: Path) -> None:
    files.write_state(tmp_path / "s", {"name": "Zoë", "zeros": "0" * 64})
    found = files.read_state(tmp_path / "s")
    assert {k: found[k] for k in ("name", "zeros")} == {"name": "Zoë", "zeros": "0" * 64}

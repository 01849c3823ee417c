"""The record of a run holds what is needed to run it again, and never stops it."""

from __future__ import annotations

import enum
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dovetail.errors import DovetailError
from dovetail.run import git_state, provenance

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def record(model_dir: Path, files: list[Path] | None = None, **kwargs: Any) -> dict[str, Any]:
    """Record a run and return its run.json."""
    given: dict[str, Any] = {"params": {}, "origins": {}, "command": ["train"], "seed": 0, **kwargs}
    folder = provenance.record(model_dir, files=files or [], **given)
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def git(folder: Path, *words: str) -> str:
    """Run git in a folder with an identity of its own."""
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with model.py committed."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "model.py").write_text("width = 3\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "model.py")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_record_holds_params_origins_command_seed_and_versions(tmp_path: Path) -> None:
    state = record(
        tmp_path / "model",
        params={"optimizer": {"lr": 0.1}, "name": "größe"},
        origins={"optimizer.lr": "command line"},
        command=["dovetail", "train", "--set", "optimizer.lr=0.1"],
        seed=7,
        extra={"device": "cpu"},
    )
    assert state["params"] == {"optimizer": {"lr": 0.1}, "name": "größe"}
    assert state["origins"] == {"optimizer.lr": "command line"}
    assert state["command"] == ["dovetail", "train", "--set", "optimizer.lr=0.1"]
    assert (state["seed"], state["extra"]) == (7, {"device": "cpu"})
    assert state["versions"]["torch"] == torch.__version__
    assert state["versions"]["numpy"] == np.__version__
    assert state["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert state["machine"]["threads"] == torch.get_num_threads()
    assert state["time"].endswith("+00:00")
    text = (tmp_path / "model/provenance/0001/params.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == {"optimizer": {"lr": 0.1}, "name": "größe"}


def test_records_are_numbered_and_never_written_again(tmp_path: Path) -> None:
    record(tmp_path, seed=1)
    first = (tmp_path / "provenance/0001/run.json").read_bytes()
    (tmp_path / "provenance/0007").mkdir()
    (tmp_path / "provenance/notes").mkdir()
    record(tmp_path, seed=2)
    assert (tmp_path / "provenance/0001/run.json").read_bytes() == first
    assert [(r["number"], r["seed"]) for r in provenance.read(tmp_path)] == [(1, 1), (8, 2)]


def test_two_runs_at_once_get_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = Path.mkdir

    def other_was_first(self: Path, *args: Any, **kwargs: Any) -> None:
        if self.name == "0001" and not self.exists():
            mkdir(self)
        mkdir(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", other_was_first)
    assert (
        provenance.record(tmp_path, params={}, origins={}, files=[], command=[], seed=0).name
        == "0002"
    )


def test_files_are_copied_with_their_checksums(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.py").write_text(folder)
    files = [tmp_path / folder / "model.py" for folder in ("a", "b", "c", "a")]
    state = record(tmp_path / "out", files)
    copies = [entry["copy"] for entry in state["files"]]
    assert copies == ["files/model.py", "files/model-2.py", "files/model-3.py"]
    for entry, text in zip(state["files"], "abc", strict=True):
        assert (tmp_path / "out/provenance/0001" / entry["copy"]).read_text() == text
        assert entry["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_link_is_copied_as_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_text("x = 1")
    (tmp_path / "link.py").symlink_to("real.py")
    state = record(tmp_path / "out", [tmp_path / "link.py", tmp_path / "real.py"])
    (entry,) = state["files"]
    assert entry["path"] == str(tmp_path / "link.py")
    assert entry["target"] == str((tmp_path / "real.py").resolve())
    copy = tmp_path / "out/provenance/0001/files/link.py"
    assert copy.read_text() == "x = 1"
    assert not copy.is_symlink()


def test_what_cannot_be_copied_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "LARGEST_COPY", 10)
    closed, large, loop = tmp_path / "closed.py", tmp_path / "large.bin", tmp_path / "loop.py"
    closed.write_text("secret")
    large.write_bytes(bytes(11))
    loop.symlink_to("loop.py")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "good.py").write_text("x")
    read_bytes = Path.read_bytes

    def refuse(self: Path) -> bytes:  # permissions do not bind root, who may run the tests
        if self == closed:
            raise PermissionError(13, "Permission denied")
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    names = ["closed.py", "absent.py", "large.bin", "loop.py", "pipe", "", "good.py"]
    state = record(tmp_path / "out", [tmp_path / name for name in names])
    notes = [note for note in state["notes"] if "was not copied" in note]
    assert len(notes) == 6
    assert notes[0] == f"{closed} was not copied: Permission denied"
    assert "No such file" in notes[1]
    assert "11 bytes" in notes[2]
    assert "not a regular file" in notes[4]
    assert [entry.get("copy") for entry in state["files"]][-1] == "files/good.py"


@needs_git
def test_the_commit_is_recorded_and_whether_the_files_differ(repository: Path) -> None:
    model, out = repository / "model.py", repository / "results"
    commit = git(repository, "rev-parse", "HEAD")
    clean = record(out, [model])["git"]
    assert clean == {"commit": commit, "branch": "main", "dirty": False}
    # The first record lies untracked in the folder, which does not change the definition.
    assert record(out, [model])["git"]["dirty"] is False
    model.write_text("width = 4\n")
    assert record(out, [model])["git"]["dirty"] is True


@needs_git
def test_a_definition_that_git_does_not_track_is_dirty(repository: Path) -> None:
    (repository / "new.py").write_text("")
    (repository / "hidden.py").write_text("")
    (repository / ".git/info/exclude").write_text("hidden.py\n")
    for name in ("new.py", "hidden.py"):
        assert record(repository / "out", [repository / name])["git"]["dirty"] is True


@needs_git
def test_variables_of_a_surrounding_git_do_not_mislead(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert record(tmp_path / "out", [repository / "model.py"])["git"] is not None


@needs_git
def test_a_folder_outside_git_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("")
    state = record(tmp_path / "out", [tmp_path / "model.py"])
    assert state["git"] is None
    assert any("No git commit: fatal: not a git repository" in note for note in state["notes"])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(2, "No such file", "git"), "there is no git"),
        (subprocess.TimeoutExpired("git", 5), "did not answer within 5 seconds"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
    ],
)
def test_a_git_that_fails_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(git_state.subprocess, "run", fail)
    state = record(tmp_path / "out")
    assert state["git"] is None
    assert any(expected in note for note in state["notes"])


def test_nothing_of_the_environment_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "tell-nobody-1234")
    record(tmp_path)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"tell-nobody" not in path.read_bytes()


def test_any_value_is_recorded_as_yaml_and_json_know_it(tmp_path: Path) -> None:
    class Color(enum.StrEnum):
        RED = "red"

    class Odd:
        def __repr__(self) -> str:
            return "Odd()"

    params = {
        "act": torch.nn.functional.relu,
        "layer": torch.nn.Linear,
        "color": Color.RED,
        "size": (1, 2),
        "path": Path("a/b"),
        "rate": np.float32(0.5),
        "count": torch.tensor(3),
        "flag": np.bool_(True),
        "limit": math.inf,
        "odd": Odd(),
        7: None,
    }
    state = record(tmp_path, params=params)
    expected = {
        "act": "torch.nn.functional:relu",
        "layer": "torch.nn.modules.linear:Linear",
        "color": "red",
        "size": [1, 2],
        "path": "a/b",
        "rate": 0.5,
        "count": 3,
        "flag": True,
        "limit": "inf",
        "odd": "Odd()",
        "7": None,
    }
    assert state["params"] == expected
    text = (tmp_path / "provenance/0001/params.yaml").read_text()
    assert yaml.safe_load(text) == {**expected, "limit": math.inf}


def test_a_model_dir_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DovetailError, match=r"Can't write the record .*file.*model_dir"):
        record(tmp_path / "file")


def test_a_record_cut_short_is_not_read(tmp_path: Path) -> None:
    record(tmp_path)
    (tmp_path / "provenance/0001/run.json").rename(tmp_path / "provenance/0001/.run.json.part")
    record(tmp_path)
    assert [state["number"] for state in provenance.read(tmp_path)] == [2]

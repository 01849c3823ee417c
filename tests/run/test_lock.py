"""One run at a time in a model_dir, and a dead one's lock is not in the way."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dovetail.errors import DovetailError, ModelDirInUseError, StorageError
from dovetail.run import lock

HOLD = """
import sys
from dovetail.run import lock
with lock.held(sys.argv[1], print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path):
    """Start processes that hold the lock of a folder until their input is closed."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_run_is_refused_and_told_who_has_it(tmp_path: Path, other) -> None:
    process = other()
    with pytest.raises(ModelDirInUseError) as caught, lock.held(tmp_path, pytest.fail):
        pytest.fail("held twice")
    said = str(caught.value)
    assert f"{tmp_path} is in use by process {process.pid} on this machine, since 2" in said
    assert "give this run another model_dir" in said
    assert isinstance(caught.value, DovetailError)


def test_one_that_ended_is_not_in_the_way(tmp_path: Path, other) -> None:
    process = other()
    process.communicate("")
    assert process.returncode == 0
    with lock.held(tmp_path, pytest.fail):
        pass


def test_one_that_was_killed_is_noticed(tmp_path: Path, other) -> None:
    process = other()
    process.send_signal(signal.SIGKILL)
    process.wait()
    notes: list[str] = []
    with lock.held(tmp_path, notes.append):
        pass
    (note,) = notes
    assert "did not end by itself" in note
    assert f"process {process.pid}" in note


def test_the_same_process_may_not_hold_it_twice(tmp_path: Path) -> None:
    with (
        lock.held(tmp_path, pytest.fail),
        pytest.raises(ModelDirInUseError, match="this very process"),
        lock.held(tmp_path, pytest.fail),
    ):
        pytest.fail("held twice")
    with lock.held(tmp_path, pytest.fail):
        pass


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock.held(tmp_path, pytest.fail):
        raise ZeroDivisionError
    with lock.held(tmp_path, pytest.fail):
        pass


def test_the_holder_is_known_alive_and_after_its_end(tmp_path: Path) -> None:
    assert lock.holder(tmp_path) is None
    with lock.held(tmp_path, pytest.fail):
        now = lock.holder(tmp_path)
        assert now is not None
        assert (now.pid, now.alive, now.ended) == (os.getpid(), True, None)
        assert abs(now.started - time.time()) < 60
    then = lock.holder(tmp_path)
    assert then is not None
    assert not then.alive
    assert then.ended is not None
    assert then.ended >= then.started


def test_looking_at_the_holder_takes_nothing_from_it(tmp_path: Path, other) -> None:
    other()
    for _ in range(2):
        found = lock.holder(tmp_path)
        assert found is not None
        assert found.alive
    with pytest.raises(ModelDirInUseError), lock.held(tmp_path, pytest.fail):
        pass


def test_a_lock_cut_short_by_a_kill_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text('{"pid": 1')
    with lock.held(tmp_path, pytest.fail):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()


def test_a_moved_model_dir_is_free(tmp_path: Path) -> None:
    with lock.held(tmp_path / "a", pytest.fail):
        pass
    (tmp_path / "a").rename(tmp_path / "b")
    with lock.held(tmp_path / "b", pytest.fail):
        pass


def _sleep(started) -> None:
    started.set()
    time.sleep(60)


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    started = context.Event()
    with lock.held(tmp_path, pytest.fail):
        child = context.Process(target=_sleep, args=(started,), daemon=True)
        child.start()
        started.wait(20)
    try:
        with lock.held(tmp_path, pytest.fail):
            pass
    finally:
        child.kill()
        child.join()


def test_a_file_system_without_locks_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    notes: list[str] = []
    with lock.held(tmp_path, notes.append):
        pass
    assert len(notes) == 1
    assert "without locks" in notes[0]


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match=r"run.lock could not be written.*Make room"):
        with lock.held(tmp_path, pytest.fail):
            pytest.fail("held")

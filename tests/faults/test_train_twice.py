"""Two runs keep out of each other's way; one that was killed is in nobody's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dovetail.run import checkpoint


def test_a_second_run_is_refused_and_the_lock_of_a_killed_one_is_not(
    command: Any, tmp_path: Path
) -> None:
    model_dir = tmp_path / "run"
    long = replace(command, steps=1_000_000)
    first = long.start(model_dir)
    try:
        assert first.stderr is not None
        while "train step" not in (line := first.stderr.readline()):
            assert line, "the run ended"
        second = command.run(model_dir)
        assert second.code == 1
        assert str(first.pid) in second.err
        assert "Traceback" not in second.err
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
    newest = checkpoint.latest(model_dir)
    assert newest is not None
    after = replace(command, steps=int(newest.name) + 200).run(model_dir)
    assert after.code == 0, after.err
    assert str(first.pid) in after.err  # a note of it

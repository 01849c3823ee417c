"""`dovetail status`, as a person and as a script reads it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dovetail.cli.main import main
from dovetail.run.heartbeat import Heartbeat


@pytest.fixture
def heartbeat(tmp_path):
    heartbeat = Heartbeat(tmp_path, 10)
    heartbeat.beat("training", 1200, loss=0.25, learning_rate=0.1, position=9600, last_step=4000)
    return heartbeat


def test_a_live_run_is_shown_with_how_far_it_is(heartbeat, tmp_path, capsys):
    heartbeat.evaluated("", 1000, {"accuracy": 0.75, "global_step": 1000})
    heartbeat.beat("evaluating", 1200)
    assert main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{tmp_path}: running, evaluating\n")
    assert "1,200 of 4,000 (30.0%)" in shown
    assert "step 1,000: accuracy 0.75\n" in shown
    assert "checkpoint      none yet" in shown


def test_a_failed_run_exits_with_1_and_its_message(heartbeat, tmp_path, capsys):
    heartbeat.close("error", "NanLossError: The loss is nan at step 1201.")
    assert main(["status", str(tmp_path)]) == 1
    assert "failed" in (shown := capsys.readouterr().out)
    assert "NanLossError: The loss is nan at step 1201." in shown


def test_json_holds_what_is_shown(heartbeat, tmp_path, capsys):
    heartbeat.close("done", "max_steps")
    assert main(["status", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["standing"], found["why"], found["fine"]) == ("done", "max_steps", True)
    assert (found["step"], found["last_step"], found["loss"]) == (1200, 4000, 0.25)


def test_a_folder_that_holds_no_run_is_a_mistake(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err


def test_it_starts_without_torch(heartbeat, tmp_path):
    code = (
        "import sys\n"
        "from dovetail.cli.main import main\n"
        f"assert main(['status', {str(tmp_path)!r}]) == 0\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

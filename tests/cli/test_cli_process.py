"""What only a process of its own shows: signals, and an output that nobody reads to its end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dovetail.run import checkpoint

COMMAND = [sys.executable, "-c", "import sys; from dovetail.cli.main import main; sys.exit(main())"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_training_with_its_code_and_the_state_saved(
    shop: Path, number: int, code: int
) -> None:
    words = ["train", "digits.py", "--data", "demo/records/train", "--model-dir", "run"]
    words += ["--max-steps", "1000000", "--log-step-count-steps", "1"]
    with subprocess.Popen(
        [*COMMAND, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("train step"):
                break
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == code
    newest = checkpoint.latest("run")
    assert newest is not None
    assert int(newest.name) > 0
    assert f"step {int(newest.name)} is saved" in rest
    assert "Traceback" not in rest


def test_predictions_that_nobody_reads_to_their_end_end_quietly(shop: Path) -> None:
    words = ["predict", "digits.py", "--data", "demo/records/test", "--model-dir", "demo/model"]
    with subprocess.Popen(
        [*COMMAND, *words, "--batch-size", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0

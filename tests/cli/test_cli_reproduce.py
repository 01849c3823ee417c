"""`dovetail reproduce` runs a recorded run again; its exit code says whether the bits are equal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dovetail.cli.main import main


@pytest.fixture
def trained(shop: Path, run: Any) -> Path:
    """A run of the command line, three steps and then two more, without its model file."""
    for steps in (3, 5):
        done = run(
            *("train", "digits.py", "--data", "demo/records/train", "--model-dir", "run"),
            *("--max-steps", steps, "--batch-size", 8, "--set", "optimizer.lr=0.05"),
            *("--device", "cpu", "--no-progress"),
        )
        assert done.code == 0, done.err
    (shop / "digits.py").unlink()
    return shop / "run"


def test_a_run_is_done_again_and_found_equal(trained: Path, run: Any):
    done = run("reproduce", "run", "--output", "again")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "Step 5: all 2 tensors are equal, bit for bit."
    assert "Run 2, steps 0 to 5, is run again in again." in done.out
    assert json.loads(Path("again/provenance/0001/run.json").read_text())["seed"] == 0
    with_checkpoint = run("reproduce", "run", "--against-checkpoint", "--compare", "again")
    assert with_checkpoint.code == 0
    assert re.search(r"all \d+ tensors are equal", with_checkpoint.out)


def test_in_a_new_process_it_is_equal_too(trained: Path):
    command = [sys.executable, "-m", "dovetail", "reproduce", "run", "--run", "1"]
    if not (Path(sys.modules["dovetail"].__file__ or "").parent / "__main__.py").exists():
        command[1:3] = ["-c", "from dovetail.cli.main import main; raise SystemExit(main())"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Step 3: all 2 tensors are equal, bit for bit." in done.stdout
    assert len(list(Path("results").iterdir())) == 1


def test_what_differs_is_shown_and_the_exit_code_is_1(trained: Path, run: Any):
    path = trained / "provenance/0002/ended.json"
    ended = json.loads(path.read_text())
    name = next(iter(ended["tensors"]))
    ended["tensors"][name]["sha256"] = "0" * 64
    path.write_text(json.dumps(ended))
    done = run("reproduce", "run", "--output", "again")
    assert done.code == 1
    assert "Step 5: 1 of 2 tensors differ" in done.err
    assert f"  {name}: " in done.err


def test_mistakes_are_named_and_leave_nothing(trained: Path, run: Any):
    assert main(["reproduce", "run", "--compare", "x", "--output", "y"]) == 2
    done = run("reproduce", "demo")
    assert done.code == 1
    assert "no record of a run in demo" in done.err
    (Path("demo") / "records").rename("moved")
    done = run("reproduce", "run")
    assert done.code == 1
    assert "say where to with --data DIR" in done.err
    assert not Path("results").exists()
    assert run("reproduce", "run", "--data", "moved/train").code == 0

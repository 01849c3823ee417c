"""Signals end a run at a step's end, with its state saved."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dovetail
from dovetail.run import checkpoint
from dovetail.run.hooks import Hook, Run
from dovetail.run.summaries import read_scalars


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_a_run_with_the_finished_step_saved(
    name: str,
    code: int,
    command: Any,
    whole: Path,
    tmp_path: Path,
    same_end: Callable[[Path, Path], None],
    soak: bool,
) -> None:
    for at in range(20, 120, 3) if soak else (50,):
        model_dir = tmp_path / str(at)
        fault = {"folder": str(model_dir / "checkpoints"), "at": at, "do": name}
        ended = command.run(model_dir, fault)
        if at > 100 and ended.code == 0:
            break
        assert ended.code == code, ended.err
        steps = re.findall(r"train step (\d+)/", ended.err)
        newest = checkpoint.latest(model_dir)
        assert newest is not None
        assert int(newest.name) == int(steps[-1])
        assert "Traceback" not in ended.err
        command.done(model_dir)
        same_end(whole, model_dir)


def test_a_second_interrupt_does_not_wait_for_the_step(command: Any, tmp_path: Path) -> None:
    model_dir = tmp_path / "run"
    process = replace(command, steps=1_000_000).start(model_dir)
    assert process.stderr is not None
    while "train step" not in process.stderr.readline():
        assert process.poll() is None
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


class Stop(Hook):
    """Sends the process SIGTERM while it takes a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def before_step(self, run: Run) -> None:
        if run.step == self.step - 1:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("step", [3, 4, 5])
def test_a_signal_changes_nothing_of_when_a_run_is_evaluated(
    step: int, data: Path, tmp_path: Path
) -> None:
    def train(name: str, *hooks: Hook) -> dict[str, list[tuple[int, float]]]:
        config = dovetail.RunConfig(
            str(tmp_path / name), device="cpu", progress=False, save_checkpoints_steps=4
        )
        dovetail.train_and_evaluate(
            dovetail.Estimator(str(Path(__file__).with_name("model.py")), config=config),
            dovetail.TrainSpec(str(data / "train"), max_steps=10, hooks=hooks),
            dovetail.EvalSpec(str(data / "test"), steps=1),
        )
        return read_scalars(tmp_path / name / "eval")

    with pytest.raises(SystemExit):
        train("stopped", Stop(step))
    assert train("stopped") == train("whole")

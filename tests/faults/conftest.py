"""Runs of `dovetail train` as a user starts them, that can be struck down and started again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dovetail
from dovetail.data.record_writer import RecordWriter
from dovetail.run import checkpoint
from dovetail.run.summaries import read_scalars

HERE = Path(__file__).parent
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""For steps as small as these a second thread only waits, and so holds up whoever has work."""
TIMES = ("examples_per_sec", "goodput")
"""What in the event logs is a time, which no two runs have alike."""


Kill = Callable[[Path, random.Random], bool]


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


class Forking:
    """A process that forks a run for each request; see faulty.py."""

    def __init__(self, folder: Path) -> None:
        self.out, self.err = folder / "out", folder / "err"
        self.process = subprocess.Popen(
            [sys.executable, HERE / "faulty.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ONE_THREAD,
        )
        assert self._answer() == "ready"

    def start(self, words: list[str], fault: dict[str, Any] | None, script: str | None) -> int:
        """Start a run; return its process id."""
        request = {"words": words, "fault": fault, "script": script}
        request |= {"out": str(self.out), "err": str(self.err)}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self._answer())

    def ended(self) -> Ended:
        """Wait for the run's end."""
        return Ended(int(self._answer()), self.out.read_text(), self.err.read_text())

    def close(self) -> None:
        self.process.communicate(timeout=60)

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@dataclass(frozen=True)
class Command:
    """A command that trains; its model_dir is all that differs from run to run.

    Attributes:
      flags: of the command line, without the model_dir.
      steps: where the run ends.
      forking: starts runs quickly.
      script: is run instead of `dovetail`, with the model_dir and the flags.
    """

    flags: tuple[str, ...]
    steps: int
    forking: Forking
    script: str | None = None

    def words(self, model_dir: Path, *more: str) -> list[str]:
        if self.script is not None:
            return [str(model_dir), *self.flags]
        words = ["train", str(HERE / "model.py"), "--model-dir", str(model_dir), *self.flags]
        return [*words, "--max-steps", str(self.steps), *more]

    def start(self, model_dir: Path) -> subprocess.Popen[str]:
        """Start a run as a user does."""
        begin: list[str | Path] = [Path(sys.executable).with_name("dovetail")]
        if self.script is not None:
            begin = [sys.executable, self.script]
        words = [*begin, *self.words(model_dir)]
        pipe = subprocess.PIPE
        return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=ONE_THREAD)

    def run(self, model_dir: Path, fault: dict[str, Any] | None = None, *more: str) -> Ended:
        """Run, forked, to its end or until the fault."""
        self.forking.start(self.words(model_dir, *more), fault, self.script)
        return self.forking.ended()

    def done(self, model_dir: Path) -> Ended:
        """Run to the end, which must be reached."""
        ended = self.run(model_dir)
        assert ended.code == 0, ended.err
        return ended

    def killed_until_done(self, model_dir: Path, rng: random.Random, kill: Kill, most: int) -> int:
        """Kill a run again and again until one is done; return how many were killed.

        Args:
          kill: starts the run and says whether it was killed; else it is done.
          most: kill not more often than this.
        """
        kills = 0
        while kills < most and kill(model_dir, rng):
            kills += 1
            all_listed_load(model_dir)
        self.done(model_dir)
        all_listed_load(model_dir)
        return kills

    def kill_at_a_moment(self, model_dir: Path, rng: random.Random) -> bool:
        """Kill a run that was started as a user does, at a random time in its steps and saves."""
        process = self.start(model_dir)
        assert process.stderr is not None
        while line := process.stderr.readline():
            if "train step" in line:
                break
        try:
            process.wait(rng.uniform(0, 0.3))
        except subprocess.TimeoutExpired:
            process.kill()
        _, err = process.communicate(timeout=120)
        assert process.returncode in (0, -signal.SIGKILL), err
        return process.returncode != 0

    def kill_at_an_event(self, model_dir: Path, rng: random.Random) -> bool:
        """Kill a run right before it opens, makes, renames, removes or syncs a random file."""
        fault = {"folder": str(model_dir), "at": rng.randint(1, 120), "do": "kill"}
        ended = self.run(model_dir, fault)
        assert ended.code in (0, -signal.SIGKILL), ended.err
        return ended.code != 0


def all_listed_load(model_dir: Path) -> list[int]:
    """Load every checkpoint that is listed; return their steps."""
    return [checkpoint.load(path).step for path in checkpoint.listed(model_dir)]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = read_scalars(folder)
    return {tag: curve for tag, curve in found.items() if not tag.startswith(TIMES)}


def exports(model_dir: Path) -> dict[Path, bytes]:
    """Return what exporters keep: tensors by path, and which is the best."""
    files = [*model_dir.glob("export/**/*.safetensors"), *model_dir.glob("export/*/best.json")]
    return {path.relative_to(model_dir): path.read_bytes() for path in files}


def assert_same_end(one: Path, other: Path) -> None:
    """Compare what two runs ended with, bit for bit, and all that they logged."""
    newest, others = checkpoint.latest(one), checkpoint.latest(other)
    assert newest is not None
    assert others is not None
    a, b = checkpoint.load(newest), checkpoint.load(others)
    assert a.step == b.step
    assert a.state == b.state
    for left, right in ((a.model, b.model), (a.optimizer, b.optimizer)):
        assert left.keys() == right.keys()
        for name, value in left.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, right[name]), name
            else:
                assert value == right[name], name
    assert exports(one) == exports(other)
    for folder in {path.parent for top in (one, other) for path in top.rglob("events.out.*")}:
        below = folder.relative_to(one if folder.is_relative_to(one) else other)
        assert curves(one / below) == curves(other / below), below
        for tag, curve in curves(one / below).items():
            steps = [step for step, _ in curve]
            assert steps == sorted(set(steps)), tag


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of records: `train`, 150 examples, and `test`, 40."""
    folder = tmp_path_factory.mktemp("faults")
    rng = np.random.default_rng(0)
    fields = [dovetail.Field("x", (16,), "float32"), dovetail.Field("label", (1,), "int64")]
    for name, rows in (("train", 150), ("test", 40)):
        with RecordWriter(folder / name, dovetail.Schema(fields)) as writer:
            for x in rng.normal(size=(rows, 16)).astype(np.float32):
                writer.append({"x": x, "label": np.array([x[:4].argmax()])})
    return folder


@pytest.fixture(scope="session")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forking]:
    """What forks runs; started once, for importing torch takes seconds."""
    process = Forking(tmp_path_factory.mktemp("forking"))
    yield process
    process.close()


@pytest.fixture(scope="session")
def command(data: Path, forking: Forking) -> Command:
    """All that a resume must put back: see model.py; averages, accumulation, bf16, evaluations."""
    return Command(
        (
            *("--data", str(data / "train"), "--batch-size", "8", "--seed", "3"),
            *("--parts", "2", "--precision", "bf16", "--prefetch", "2", "--device", "cpu"),
            *("--ema-decay", "0.9", "--eval-data", str(data / "test"), "--eval-steps", "3"),
            *("--export", "best", "--keep-checkpoint-best", "1", "--best-metric", "accuracy"),
            *("--save-checkpoints-steps", "4", "--save-summary-steps", "1"),
            *("--log-step-count-steps", "1", "--keep-checkpoint-max", "3"),
        ),
        steps=40,
        forking=forking,
    )


@pytest.fixture(scope="session")
def whole(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model_dir of the run that nothing struck."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    process = command.start(folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return folder


@pytest.fixture(scope="session")
def iterable_command(forking: Forking) -> Command:
    """A script that trains on an iterable without positions, in fp16: see iterable_run.py."""
    return Command(("30",), 30, forking, script=str(HERE / "iterable_run.py"))


@pytest.fixture(scope="session")
def pipeline_command(forking: Forking) -> Command:
    """A script that trains on what a pipeline makes ahead in threads: see pipeline_run.py."""
    return Command(("30",), 30, forking, script=str(HERE / "pipeline_run.py"))


@pytest.fixture(scope="session")
def all_load() -> Callable[[Path], list[int]]:
    return all_listed_load


@pytest.fixture(scope="session")
def same_end() -> Callable[[Path, Path], None]:
    return assert_same_end

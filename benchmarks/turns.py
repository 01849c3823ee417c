"""Rivals that take turns: each in a process of its own, none running while another is measured.

A rival is a function `module:name` that takes a folder and gives a `Work`. Frameworks set threads,
allocators and signal handlers for the whole process, hence one process each; and the machine may
be busier at one moment than at another, hence many short turns, one of each rival after the other.
Between its turns a rival and its workers are stopped, so that none makes batches ahead meanwhile.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pty
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Work:
    """What a rival can be told to do.

    Attributes:
      run: takes a number of steps (or batches); returns the seconds that they took, without what
        comes before the first of them, and after a few that are not counted.
      check: returns what must be equal for all rivals, so that all do the same.
    """

    run: Callable[[int], float]
    check: Callable[[], Any]


@dataclass(frozen=True)
class Rival:
    """A rival and where its code is.

    Attributes:
      name: as tables show it.
      function: "module:name" in this folder.
      options: keyword arguments of the function, beside the folder.
    """

    name: str
    function: str
    options: Mapping[str, Any]


class Started:
    """A rival's process.

    Args:
      rival: what to run.
      folder: where its files are.
      terminal: give it a terminal to write to, as a person at work has, instead of nowhere.
    """

    def __init__(self, rival: Rival, folder: Path, *, terminal: bool = False) -> None:
        self.rival = rival
        request = {"function": rival.function, "options": dict(rival.options)}
        command = [sys.executable, str(HERE / "turns.py"), str(folder), json.dumps(request)]
        self._errors = folder / f"{rival.name.replace(' ', '_').replace('/', '_')}.log"
        self._screen: int | None = None
        out: Any
        if terminal:
            self._screen, out = pty.openpty()
            threading.Thread(target=self._drain, daemon=True).start()
        else:
            out = os.open(self._errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        answers, theirs = os.pipe()
        environment = {**os.environ, **_QUIET, "DOVETAIL_BENCH_ANSWERS": str(theirs)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=out, pass_fds=[theirs], text=True,
            env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(out)
        os.close(theirs)
        self._answers = os.fdopen(answers)

    def ask(self, what: str, count: int = 0) -> Any:
        """Send a command, wait for its end, and return the answer.

        Raises:
          RuntimeError: the process failed; the message holds the last of what it wrote.
        """
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        self._process.stdin.write(f"{what} {count}\n")
        self._process.stdin.flush()
        answer = self._answers.readline()
        self._signal(signal.SIGSTOP)
        if not answer:
            self._process.wait()
            said = self._errors.read_text(errors="replace") if self._errors.exists() else ""
            raise RuntimeError(f"{self.rival.name} failed:\n{said[-4000:]}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the rival and to the processes that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _drain(self) -> None:
        assert self._screen is not None
        with open(self._errors, "wb") as log:
            while True:
                try:
                    written = os.read(self._screen, 1 << 16)
                except OSError:  # the other side is closed
                    return
                log.write(written)


_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}


def measured(
    started: Sequence[Started], *, rounds: int, seconds: float, say: Callable[[str], None]
) -> dict[str, list[float]]:
    """Give every rival `rounds` turns of about `seconds`, round by round.

    Returns:
      name -> seconds a step of each turn.
    """
    counts = {one.rival.name: _count(one, seconds) for one in started}
    times: dict[str, list[float]] = {one.rival.name: [] for one in started}
    for turn in range(rounds):
        # Forwards and backwards in turn: none is always the one after the heaviest.
        for one in started if turn % 2 == 0 else reversed(started):
            name = one.rival.name
            times[name].append(one.ask("run", counts[name]) / counts[name])
        say(f"round {turn + 1} of {rounds}")
    return times


def _count(one: Started, seconds: float) -> int:
    """Say how many steps a rival takes in some seconds, and warm it up."""
    count = 16
    while True:
        took = one.ask("run", count)
        if took > seconds / 4:
            return max(int(count * seconds / took), 8)
        count *= 4


def summary(times: Mapping[str, list[float]], ours: str) -> list[dict[str, Any]]:
    """Return a row for each rival: median, fastest, slowest in seconds, and ratio to ours."""
    base = statistics.median(times[ours])
    return [
        {
            "name": name,
            "median": statistics.median(values),
            "fastest": min(values),
            "slowest": max(values),
            # Turn by turn, since a busy moment slows both sides of a turn's ratio.
            "times_ours": statistics.median(
                value / own for value, own in zip(values, times[ours], strict=True)
            ),
            "median_over_ours": statistics.median(values) / base,
        }
        for name, values in times.items()
    ]


def _serve() -> None:
    """Be a rival's process: read commands, write answers."""
    folder, request = Path(sys.argv[1]), json.loads(sys.argv[2])
    answers = os.fdopen(int(os.environ["DOVETAIL_BENCH_ANSWERS"]), "w")
    sys.path.insert(0, str(HERE))
    module, _, name = request["function"].partition(":")
    work: Work = getattr(importlib.import_module(module), name)(folder, **request["options"])
    for line in sys.stdin:
        what, count = line.split()
        answer = work.run(int(count)) if what == "run" else work.check()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()

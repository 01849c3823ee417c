"""What a run shows: lines in a log, a bar on a terminal, and next to no time spent on it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import timeit

import pytest
import torch

from dovetail.run import progress as module
from dovetail.run.progress import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Loss:
    """A loss that counts how often it is read."""

    def __init__(self, value: float = 0.5) -> None:
        self.value = value
        self.reads = 0

    def __float__(self) -> float:
        self.reads += 1
        return self.value


@pytest.fixture(autouse=True)
def terminal_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")


def plain(stream: io.StringIO) -> str:
    """Return what was written without the terminal's control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def test_lines_come_at_multiples_and_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream=stream, every=100, clock=clock)
    progress.start(50, total=220)
    for step in range(51, 221):
        clock.now += 0.1
        progress.step(step, 32, torch.tensor(0.123456))
    progress.finish(220, 0.1)
    assert stream.getvalue().splitlines() == [
        "train step 100/220  loss 0.1235  320 examples/s  0:00:12 left",
        "train step 200/220  loss 0.1235  320 examples/s  0:00:02 left",
        "train step 220/220  loss 0.1235  320 examples/s",
    ]


def test_the_rate_is_of_the_time_since_the_last_line() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream=stream, every=10, clock=clock)
    progress.start(0)
    for step in range(1, 31):
        clock.now += 60.0 if step == 1 else 0.1  # the first step compiles
        progress.step(step, 10)
    first, second, third = stream.getvalue().splitlines()
    assert first == "train step 10  2 examples/s"
    assert second == third.replace("30", "20") == "train step 20  100 examples/s"


def test_a_loop_whose_end_was_not_known_shows_its_last_step() -> None:
    stream = io.StringIO()
    progress = Progress(stream=stream, every=100, clock=Clock())
    progress.start(0)
    for step in range(1, 8):
        progress.step(step, 4, 1.0)
    progress.finish(7, 1.0)
    assert stream.getvalue() == "train step 7  loss 1\n"


def test_without_examples_the_rate_is_in_steps() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream=stream, every=5, label="prepare", step_name="file", clock=clock)
    progress.start(0, total=10)
    for step in range(1, 11):
        clock.now += 0.5
        progress.step(step)
    assert stream.getvalue().splitlines() == [
        "prepare file 5/10  2 files/s  0:00:02 left",
        "prepare file 10/10  2 files/s",
    ]


@pytest.mark.parametrize("stream_kind", [io.StringIO, Terminal])
def test_the_loss_is_read_only_when_it_is_shown(stream_kind: type[io.StringIO]) -> None:
    clock, loss = Clock(), Loss()
    progress = Progress(stream=stream_kind(), every=100, clock=clock)
    progress.start(0, total=1000)
    progress.step(1, 1, loss)  # a bar shows the first step
    first = loss.reads
    for step in range(2, 100):
        progress.step(step, 1, loss)
    assert loss.reads == first
    clock.now += 1
    progress.step(100, 1, loss)
    assert loss.reads == first + 1
    progress.close()


def test_nothing_but_notes_is_shown_where_progress_is_off() -> None:
    stream, loss = Terminal(), Loss()
    progress = Progress(False, stream=stream, every=1)
    progress.start(0, total=3)
    for step in range(1, 4):
        progress.step(step, 1, loss)
    progress.note("checkpoint 5 is damaged")
    progress.finish(3, loss)
    assert stream.getvalue() == "checkpoint 5 is damaged\n"
    assert loss.reads == 0


def test_a_terminal_gets_a_bar_with_loss_rate_and_time_left() -> None:
    stream, clock = Terminal(), Clock()
    progress = Progress(stream=stream, clock=clock)
    progress.start(0, total=1000)
    assert "0/1000" in plain(stream)
    for step in range(1, 501):
        clock.now += 0.01
        progress.step(step, 64, 0.25)
    progress.close()
    shown = plain(stream)
    assert re.search(r"train .*481/1000 loss 0.25  6,400 examples/s  0:00:05 left", shown)
    # Redrawn five times a second, not at every step.
    assert shown.count("examples/s") < 60


def test_a_note_appears_above_the_bar_as_it_is() -> None:
    stream = Terminal()
    progress = Progress(stream=stream)
    progress.start(0, total=10)
    progress.note("saved [bold]model[/bold] :smile: " + "x" * 300)
    progress.close()
    assert "saved [bold]model[/bold] :smile: " + "x" * 300 in plain(stream)


def test_a_bar_without_a_known_end_counts() -> None:
    stream = Terminal()
    progress = Progress(stream=stream)
    progress.start(7)
    progress.finish(9, 0.5)
    assert "9/?" in plain(stream)


def test_the_terminal_is_given_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", Terminal())
    before = (sys.stdout, sys.stderr)
    progress = Progress(stream=stream)
    try:
        progress.start(0, total=10)
        assert sys.stdout is not before[0]
        print("from the model's code")
        raise RuntimeError
    except RuntimeError:
        progress.close()
        progress.close()
    assert (sys.stdout, sys.stderr) == before
    assert stream.getvalue().endswith("\x1b[?25h")  # the cursor is shown again
    assert "from the model's code" in plain(stream)


def test_a_piped_stdout_stays_with_its_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    progress = Progress(stream=Terminal())
    progress.start(0, total=10)
    print("a prediction")
    progress.close()
    assert pipe.getvalue() == "a prediction\n"


def test_a_second_bar_inside_the_first_does_not_fail() -> None:
    outer, inner = Progress(stream=Terminal()), Progress(stream=Terminal(), label="evaluate")
    outer.start(0, total=2)
    inner.start(0, total=2)
    inner.finish(2)
    outer.step(1)
    outer.finish(2)


@pytest.mark.parametrize("stream_kind", [io.StringIO, Terminal])
def test_a_stream_that_closes_does_not_stop_the_run(stream_kind: type[io.StringIO]) -> None:
    class Gone(stream_kind):
        broken = False

        def write(self, text: str, /) -> int:
            if self.broken:
                raise BrokenPipeError(32, "Broken pipe")
            return super().write(text)

    stream, loss = Gone(), Loss()
    progress = Progress(stream=stream, every=1)
    progress.start(0, total=9)
    stream.broken = True
    progress.note("a note")
    for step in range(1, 10):
        progress.step(step, 1, loss)
    progress.note("another")
    progress.finish(9, loss)
    assert loss.reads <= 1


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setenv("TERM", term)
    stream = Terminal()
    progress = Progress(stream=stream, clock=Clock())
    progress.start(0, total=100)
    progress.step(100)
    progress.close()
    assert stream.getvalue() == "train step 100/100\n"


@pytest.mark.parametrize("stream_kind", [io.StringIO, Terminal])
def test_a_step_that_shows_nothing_takes_under_two_microseconds(
    stream_kind: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REDRAW_SECONDS", 1e9)
    progress, loss = Progress(stream=stream_kind(), every=10**9), Loss()
    progress.start(0, total=10**9)
    progress.step(1, 64, loss)
    number = 10_000
    # The best of many: other work on the machine only ever adds.
    best = min(timeit.repeat(lambda: progress.step(7, 64, loss), number=number, repeat=20))
    progress.close()
    assert best / number < 2e-6


def test_lines_do_without_rich() -> None:
    code = (
        "import sys; from dovetail.run.progress import Progress\n"
        "p = Progress(); p.start(0, 1); p.step(1, 1, 0.5); p.finish(1); p.note('done')\n"
        "assert not {'rich', 'torch', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ
    )
    assert done.stdout == ""
    assert done.stderr.endswith("done\n")


def test_a_line_says_once_which_checkpoint_is_whole() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream=stream, every=10, clock=clock)
    progress.start(0, total=40)
    for step in range(1, 41):
        clock.now += 0.1
        progress.step(step, 0, 0.5)
        if step == 12:
            progress.saved(12)
    lines = stream.getvalue().splitlines()
    assert [line.partition("saved ")[2] for line in lines] == ["", "12", "", ""]


def test_evaluations_are_lines_and_where_the_time_went_is_the_last() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream=stream, every=10, clock=clock)
    progress.start(0)
    clock.now += 1.0
    progress.doing("evaluating")
    progress.evaluated("hard", 10, {"accuracy": 0.91239, "confusion": [1], "global_step": 10})
    progress.finish(10, 0.5, last="Goodput 98%: all is well.")
    assert stream.getvalue().splitlines() == [
        "eval hard step 10  accuracy 0.9124",
        "train step 10  loss 0.5  10 steps/s",
        "Goodput 98%: all is well.",
    ]


def test_the_bar_says_what_takes_long_and_what_is_saved() -> None:
    stream, clock = Terminal(), Clock()
    progress = Progress(stream=stream, clock=clock)
    progress.start(0, total=20)
    clock.now += 1.0
    progress.step(10, 8, 0.5)
    progress.doing("evaluating")
    assert plain(stream).rstrip().endswith("evaluating ...")
    progress.evaluated("", 10, {"loss": 0.25})
    progress.saved(10)
    progress.step(11, 8, 0.5)  # at once: what was done beside the steps is over
    assert "saved 10" in plain(stream)
    assert "eval step 10  loss 0.25" in plain(stream)
    progress.finish(11, 0.5, last="Goodput 98%.")
    assert plain(stream).endswith("Goodput 98%.\n")


def test_one_that_is_not_shown_says_nothing_of_all_that() -> None:
    stream = io.StringIO()
    progress = Progress(False, stream=stream)
    progress.start(0)
    progress.doing("evaluating")
    progress.evaluated("", 1, {"loss": 0.5})
    progress.saved(1)
    progress.finish(1, 0.5, last="Goodput 98%.")
    assert stream.getvalue() == ""

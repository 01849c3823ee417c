"""A model file's `callbacks` on the command line: trained, set, resumed, reproduced, inspected."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

CALLBACKS = """

import dovetail


class Steps(dovetail.Hook):
    def __init__(self, every):
        self.every = every

    def after_step(self, run, output):
        if run.step % self.every == 0:
            run.note(f"at step {run.step}")


def callbacks(every=2, last=100):
    return [Steps(every), dovetail.hooks.StopAtStep(last)]
"""
DATA = ("--data", "demo/records/train", "--batch-size", 8, "--device", "cpu", "--no-progress")


@pytest.fixture
def digits(shop: Path) -> Path:
    """digits.py with callbacks."""
    path = shop / "digits.py"
    path.write_text(path.read_text() + CALLBACKS)
    return shop


def steps_of(told: str) -> list[str]:
    return re.findall(r"at step (\d+)$", told, re.MULTILINE)


def test_they_run_with_every_training(run: Any, digits: Path) -> None:
    ran = run("train", "digits.py", *DATA, "--model-dir", "run", "--epochs", 2)
    assert ran.code == 0, ran.err
    assert steps_of(ran.err) == ["2", "4", "6"]
    tried = run("train", "digits.py", *DATA, "--fast-dev-run", "--set", "callbacks.every=1")
    assert steps_of(tried.err) == ["1"]


def test_their_arguments_are_set_and_shown(run: Any, digits: Path) -> None:
    words = ("--model-dir", "run", "--max-steps", 4)
    ran = run("train", "digits.py", *DATA, *words, "--set", "callbacks.every=3")
    assert steps_of(ran.err) == ["3"]
    assert re.search(r"params.callbacks.every +3 +command line --set", ran.out)
    record = json.loads(Path("run/provenance/0001/run.json").read_text())
    assert record["params"]["callbacks"] == {"every": 3, "last": 100}
    ran = run("train", "digits.py", *DATA, *words, "--set", "callbacks.evry=3")
    assert ran.code == 1
    assert "every" in ran.err


def test_a_run_that_they_ended_says_so_goes_on_and_is_reproduced(run: Any, digits: Path) -> None:
    words = ("train", "digits.py", *DATA, "--model-dir", "run", "--max-steps", 8)
    ran = run(*words, "--set", "callbacks.last=3")
    assert ran.code == 0, ran.err
    assert "It ended at step 3: " in ran.out
    ran = run(*words)
    assert "Trained 5 steps, to step 8" in ran.out
    done = run("reproduce", "run", "--output", "again")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "Step 8: all 2 tensors are equal, bit for bit."


def test_a_params_files_model_has_them(run: Any, params_file: Path) -> None:
    model = params_file.parents[1] / "model.py"
    model.write_text(model.read_text() + CALLBACKS)
    text = params_file.read_text() + "\ncallbacks:\n  every: 4\n"
    params_file.write_text(text)
    ran = run("run", "--params", params_file, "--mode", "train_and_eval")
    assert ran.code == 0, ran.err
    assert steps_of(ran.err) == ["4", "8"]


def test_inspect_lists_them(run: Any, digits: Path) -> None:
    ran = run("inspect", "digits.py")
    line = next(
        i for i, t in enumerate(Path("digits.py").read_text().splitlines()) if "every=2" in t
    )
    assert re.search(rf"^ *callbacks +{line + 1}$", ran.out, re.MULTILINE)
    assert re.search(r"callbacks.every +2", ran.out)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [3]", "gave 3, of type int. It must return a list of hooks"),
        ("return wrong", "NameError"),
        ("return [Steps(1), Steps]", "the class Steps instead of an object of it"),
    ],
)
def test_a_mistake_in_them_is_the_users_with_its_line(
    run: Any, digits: Path, body: str, said: str
) -> None:
    path = digits / "digits.py"
    text = re.sub(r"return \[Steps\(every\).*", body, path.read_text())
    path.write_text(text)
    ran = run("train", "digits.py", *DATA)
    assert ran.code == 1
    assert said in ran.err
    line = 1 + text.splitlines().index("def callbacks(every=2, last=100):")
    assert re.search(rf"digits\.py:{line}\b|digits\.py:{line + 1}\b", ran.err)
    assert not Path("results").exists() or not list(Path("results").iterdir())


def test_a_mistake_while_they_run_is_the_users_with_its_line(run: Any, digits: Path) -> None:
    path = digits / "digits.py"
    path.write_text(path.read_text().replace('run.note(f"at', 'run.no(f"at'))
    ran = run("train", "digits.py", *DATA, "--model-dir", "run")
    assert ran.code == 1
    assert "AttributeError" in ran.err
    assert "in after_step: run.no(" in ran.err

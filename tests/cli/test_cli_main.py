from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from dovetail.cli.main import app

VERBS = (
    "prepare",
    "records",
    "train",
    "evaluate",
    "predict",
    "run",
    "inspect",
    "status",
    "reproduce",
)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_without_a_verb_the_help_names_every_verb(run: Any, words: list[str]) -> None:
    ran = run(*words)
    assert ran.code == 0
    assert all(f" {verb} " in ran.out for verb in VERBS)


def test_every_verb_is_in_the_readme_s_table() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert [command.callback.__name__ for command in app.registered_commands] == list(VERBS)
    assert all(f"| `dovetail {verb} " in readme for verb in VERBS)


def test_an_unknown_flag_is_wrong_usage_and_the_nearest_is_named(run: Any) -> None:
    ran = run("train", "digits.py", "--data", "d", "--max-stps", 3)
    assert ran.code == 2
    assert "--max-stps" in ran.err
    assert "--max-steps" in ran.err


def test_an_unknown_verb_is_wrong_usage(run: Any) -> None:
    ran = run("trin", "digits.py")
    assert ran.code == 2
    assert "trin" in ran.err


def test_what_a_verb_cannot_do_without_is_wrong_usage(run: Any) -> None:
    ran = run("train", "digits.py")
    assert ran.code == 2
    assert "--data" in ran.err


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_holds_an_example_that_works(run: Any, shop: Path, verb: str) -> None:
    text = run(verb, "--help").out
    (lines,) = (text.split("Example:")[1:],)
    example = lines[0].split("\u256d")[0].replace("\\", " ")
    words = shlex.split(example)
    assert words[:2] == ["dovetail", verb]
    ran = run(*words[1:])
    assert (ran.code, "error" in ran.err) == (0, False)


def test_page_5_s_spellings_with_underscores_are_flags_too(run: Any, shop: Path) -> None:
    data = "demo/records/train"
    words = ["--data", data, "--model_dir", "run", "--batch-size", 8]
    assert run("train", "digits.py", *words, "--max_steps", 2).code == 0
    checkpoint = "run/checkpoints/0000000002"
    ran = run("evaluate", "digits.py", *words, "--eval_steps=1", "--checkpoint_path", checkpoint)
    assert ran.code == 0
    assert "global_step  2" in ran.out


def test_a_model_beside_its_own_modules_imports_them_inside_functions(run: Any, shop: Path) -> None:
    (shop / "sub").mkdir()
    text = (shop / "digits.py").read_text()
    late = "def optimizer(lr=0.1):\n    from own_rates import RATE\n    lr = RATE\n"
    (shop / "sub/digits.py").write_text(text.replace("def optimizer(lr=0.1):\n", late))
    (shop / "sub/own_rates.py").write_text("RATE = 0.5\n")
    words = ["--data", "demo/records/train", "--model-dir", "run", "--max-steps", 1]
    assert run("train", "sub/digits.py", *words).code == 0

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dovetail.run import checkpoint
from dovetail.run.summaries import read_scalars

DATA = ("--data", "demo/records/train", "--batch-size", 8)  # 24 records: 3 steps an epoch


def _table(out: str) -> dict[str, tuple[str, str]]:
    """The table of values: name -> (value, where it came from)."""
    first, *lines = out.splitlines()
    assert first.split() == ["value", "from"]
    rows = [line.split(maxsplit=2) for line in lines if re.match(r" [a-z]", line)]
    return {name: (value, origin) for name, value, origin in rows}


def test_it_says_what_it_did_and_where_the_checkpoint_is(run: Any, shop: Path) -> None:
    ran = run("train", "digits.py", *DATA, "--model-dir", "run", "--epochs", 2)
    assert ran.code == 0
    assert "Trained 6 steps, to step 6" in ran.out
    assert "Checkpoint: run/checkpoints/0000000006" in ran.out
    assert "train step 6/6" in ran.err
    assert (shop / "run/checkpoints/0000000006/state.json").is_file()


def test_run_again_it_goes_on_or_says_that_nothing_is_left(run: Any, shop: Path) -> None:
    words = ("train", "digits.py", *DATA, "--model-dir", "run", "--max-steps")
    assert run(*words, 2).code == 0
    assert "Trained 3 steps, to step 5" in run(*words, 5).out
    ran = run(*words, 5)
    assert ran.code == 0
    assert "nothing left to train: step 5 of 5 is done" in ran.out
    assert "Checkpoint: run/checkpoints/0000000005" in ran.out


def test_every_value_that_was_given_is_shown_with_where_it_came_from(run: Any, shop: Path) -> None:
    (shop / "p.yaml").write_text("optimizer:\n  lr: 0.5\nrunconfig:\n  keep_checkpoint_max: 2\n")
    words = ("--params", "p.yaml", "--model-dir", "run", "--max-steps", 1, "--prefetch", 0)
    values = _table(run("train", "digits.py", *DATA, *words).out)
    assert values == {
        "model_dir": ("run", "command line --model-dir"),
        "max_steps": ("1", "command line --max-steps"),
        "batch_size": ("8", "command line --batch-size"),
        "seed": ("0", "default"),
        "device": values["device"],
        "prefetch": ("0", "command line --prefetch"),
        "keep_checkpoint_max": ("2", "params file p.yaml"),
        "params.optimizer.lr": ("0.5", "params file p.yaml"),
    }


def test_set_wins_over_the_params_file(run: Any, shop: Path) -> None:
    (shop / "p.yaml").write_text("optimizer: {lr: 0.5}\n")
    words = ("--params", "p.yaml", "--set", "optimizer.lr=0.25", "--model-dir", "run")
    ran = run("train", "digits.py", *DATA, *words, "--max-steps", 1)
    assert _table(ran.out)["params.optimizer.lr"] == ("0.25", "command line --set")
    record = json.loads((shop / "run/provenance/0001/run.json").read_text())
    assert record["params"]["optimizer"]["lr"] == 0.25
    assert record["origins"]["params.optimizer.lr"] == "command line --set"
    assert read_scalars(shop / "run")["learning_rate"] == [(1, 0.25)]


def test_with_verbose_the_defaults_are_shown_too(run: Any, shop: Path) -> None:
    words = ("--model-dir", "run", "--max-steps", 1, "--verbose")
    values = _table(run("train", "digits.py", *DATA, *words).out)
    assert values["keep_checkpoint_max"] == ("5", "default")
    assert values["params.optimizer.lr"] == ("0.1", "definition")


def test_without_a_model_dir_one_is_made_for_this_launch(run: Any, shop: Path) -> None:
    ran = run("train", "digits.py", *DATA)
    assert ran.code == 0
    (made,) = (shop / "results").iterdir()
    value, origin = _table(ran.out)["model_dir"]
    assert (value, origin) == (f"results/{made.name}", "default, fixed at launch")
    assert checkpoint.latest(made) is not None


def test_a_mistake_leaves_no_empty_results(run: Any, shop: Path) -> None:
    assert run("train", "digits.py", "--data", "demo/records/non").code == 1
    assert not (shop / "results").exists()


def test_a_fast_dev_run_does_one_batch_of_everything_and_keeps_nothing(
    run: Any, shop: Path
) -> None:
    before = sorted(shop.rglob("*"))
    ran = run("train", "digits.py", *DATA, "--model-dir", "demo/model", "--fast-dev-run")
    assert ran.code == 0
    for said in (
        "train: 1 batch of 8, loss",
        "checkpoint: saved, verified and restored",
        "evaluate: 1 batch of 8, accuracy",
        "predict: 1 batch of 8, output [8, 3]",
    ):
        assert said in ran.out
    assert [path for path in sorted(shop.rglob("*")) if "__pycache__" not in path.parts] == before


def test_a_fast_dev_run_finds_a_mistake_in_what_only_evaluation_uses(run: Any, shop: Path) -> None:
    text = (shop / "digits.py").read_text()
    (shop / "digits.py").write_text(text.replace("predictions.argmax", "predictions.argmx"))
    ran = run("train", "digits.py", *DATA, "--fast-dev-run")
    assert ran.code == 1
    assert "argmx" in ran.err
    assert "in eval_metrics_fn" in ran.err


def test_an_overfit_drives_the_loss_down_apart_from_the_run_itself(run: Any, shop: Path) -> None:
    words = ("--overfit-batches", 2, "--model-dir", "demo/model", "--set", "optimizer.lr=1.0")
    ran = run("train", "digits.py", *DATA, *words)
    assert ran.code == 0
    assert "Trained 200 steps on the same 2 batches" in ran.out
    first, last = (
        ran.out.partition("the loss went from ")[2].split("\n")[0].strip(".").split(" to ")
    )
    assert float(last) < float(first) / 2
    assert checkpoint.latest("demo/model").name == "0000000004"
    (trial,) = (shop / "demo/model/overfit").iterdir()
    assert checkpoint.latest(trial).name == "0000000200"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--max-steps", 1, "--epochs", 1), 2, "not both"),
        (("--fast-dev-run", "--overfit-batches", 1), 2, "not both"),
        (("--max-steps", 0), 2, "--max-steps"),
        (("--set", "optimizer.lrr=1"), 1, "Did you mean 'lr'?"),
        (("--set", "optimizer.lr=fast"), 1, "optimizer.lr"),
        (("--set", "optimizer.lr"), 1, "name=value"),
        (("--params", "absent.yaml"), 1, "absent.yaml"),
        (("--precision", "bf61"), 1, "Did you mean 'bf16'?"),
        (("--save-checkpoints-steps", 1, "--save-checkpoints-secs", 1), 1, "give one of them"),
        (("--epochs", "-1"), 1, "epochs"),
        (("--model-dir", "digits.py/run"), 1, "digits.py/run"),
        (("--device", "abacus"), 1, "abacus"),
    ],
)
def test_a_wrong_value_is_one_message(
    run: Any, shop: Path, words: tuple[object, ...], code: int, said: str
) -> None:
    ran = run("train", "digits.py", *DATA, *words)
    assert ran.code == code
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not (shop / "results").exists()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("digit.py", "There is no model file digit.py"),
        ("demo", "folder"),
        ("broken.py", "broken.py:2: the file does not parse"),
        ("raises.py", "raises.py:2"),
        ("part.py", "optimizer is missing"),
    ],
)
def test_a_wrong_model_file_is_one_message(run: Any, shop: Path, model: str, said: str) -> None:
    (shop / "broken.py").write_text("x = 1\ndef f(:\n")
    (shop / "raises.py").write_text("x = 1\ny = 1 / 0\n")
    text = (shop / "digits.py").read_text()
    (shop / "part.py").write_text(text.replace("def optimizer(", "def unrelated_thing("))
    ran = run("train", model, *DATA)
    assert ran.code == 1
    assert said in ran.err
    assert ran.err.count("error:") == 1
    assert "Traceback" not in ran.err


def test_records_of_another_schema_are_refused(run: Any, shop: Path) -> None:
    text = (shop / "digits.py").read_text()
    (shop / "digits.py").write_text(text.replace('"shape": [4, 4]', '"shape": [2, 8]'))
    ran = run("train", "digits.py", *DATA, "--model-dir", "run")
    assert ran.code == 1
    assert "[2, 8]" in ran.err
    assert "[4, 4]" in ran.err


def test_a_model_dir_of_another_definition_is_refused_and_left_as_it_is(
    run: Any, shop: Path
) -> None:
    text = (shop / "digits.py").read_text()
    (shop / "digits.py").write_text(text.replace("nn.Linear(16, 3)", "nn.Linear(16, 4)"))
    before = sorted(str(path) for path in (shop / "demo/model/checkpoints").rglob("*"))
    ran = run("train", "digits.py", *DATA, "--model-dir", "demo/model", "--max-steps", 9)
    assert ran.code == 1
    assert "expected (4, 16), found (3, 16)" in ran.err
    assert sorted(str(path) for path in (shop / "demo/model/checkpoints").rglob("*")) == before


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    run: Any, shop: Path
) -> None:
    words = ("--model-dir", "run", "--max-steps", 50, "--set", "optimizer.lr=1e38")
    ran = run("train", "digits.py", *DATA, *words)
    assert ran.code == 1
    assert "step" in ran.err
    assert checkpoint.latest("run") is not None

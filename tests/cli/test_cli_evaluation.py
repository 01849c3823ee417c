"""Evaluation beside training and of a run elsewhere, from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dovetail.run import checkpoint
from dovetail.run.estimator import Estimator
from dovetail.run.summaries import read_scalars

TRAIN = ("train", "digits.py", "--data", "demo/records/train", "--batch-size", 8)
RUN = ("--model-dir", "run", "--save-checkpoints-steps", 2)
TEST = "demo/records/test"


def steps(folder: Path) -> list[int]:
    return [step for step, _ in read_scalars(folder).get("loss", [])]


def test_each_checkpoint_is_evaluated_and_the_last_is_shown(run: Any, shop: Path) -> None:
    ran = run(*TRAIN, *RUN, "--max-steps", 5, "--eval-data", TEST)
    assert ran.code == 0
    assert steps(shop / "run/eval") == [2, 4, 5]
    expected = Estimator("digits.py", model_dir="run").evaluate(TEST)
    assert f"Evaluation at step 5: accuracy {expected['accuracy']:.4g}" in ran.out
    assert "eval step 2 " in ran.err


def test_several_data_are_evaluated_by_name(run: Any, shop: Path) -> None:
    data = ("--eval-data", f"test={TEST}", "--eval-data", "seen=demo/records/train")
    ran = run(*TRAIN, *RUN, "--max-steps", 2, *data, "--eval-steps", 1)
    assert ran.code == 0
    assert steps(shop / "run/eval_test") == steps(shop / "run/eval_seen") == [2]
    assert not (shop / "run/eval").exists()
    assert "Evaluation test at step 2" in ran.out
    assert "Evaluation seen at step 2" in ran.out


def test_exports_are_kept_and_named(run: Any, shop: Path) -> None:
    words = ("--export", "best", "--export", "final", "--export", "latest")
    words = (*words, "--best-metric", "accuracy")
    ran = run(*TRAIN, *RUN, "--max-steps", 4, "--eval-data", TEST, *words)
    assert ran.code == 0
    for name in ("latest", "final"):
        path = f"run/export/{name}/0000000004"
        assert f"Export: {path}" in ran.out
        assert checkpoint.load(path).step == 4
    best = json.loads((shop / "run/export/best/best.json").read_text())
    assert f"Export: run/export/best/{best['step']:010d}" in ran.out
    assert best["metrics"]["accuracy"] == max(
        value for _, value in read_scalars(shop / "run/eval")["accuracy"]
    )


def test_an_export_is_enough_to_evaluate_its_run(run: Any, shop: Path) -> None:
    ran = run(*TRAIN, *RUN, "--max-steps", 2, "--eval-data", TEST, "--export", "final")
    words = ("evaluate", "digits.py", "--data", TEST, "--json")
    assert ran.code == 0
    ran = run(*words, "--checkpoint-path", "run/export/final/0000000002", "--name", "export")
    assert json.loads(ran.out)["global_step"] == 2
    assert steps(shop / "run/eval_export") == [2]


def test_best_and_early_stopping_go_by_the_evaluation_that_they_name(run: Any, shop: Path) -> None:
    data = ("--eval-data", f"test={TEST}", "--eval-data", "seen=demo/records/train")
    words = ("--export", "best", "--best-metric", "seen/accuracy")
    stop = ("--early-stopping", "seen/global_step:1")
    ran = run(*TRAIN, *RUN, "--max-steps", 4, *data, *words, *stop)
    assert ran.code == 1
    assert "'global_step', which the evaluation does not give" in ran.err
    ran = run(*TRAIN, *RUN, "--max-steps", 4, *data, *words)
    best = json.loads((shop / "run/export/best/best.json").read_text())
    seen = dict(read_scalars(shop / "run/eval_seen")["accuracy"])
    assert best["metrics"]["accuracy"] == seen[best["step"]]


def test_a_run_ends_when_its_metric_gets_no_better(run: Any, shop: Path) -> None:
    words = ("--set", "optimizer.lr=0.0", "--early-stopping", "loss:2", "--eval-data", TEST)
    ran = run(*TRAIN, *RUN, "--max-steps", 50, *words)
    assert ran.code == 0
    assert "to step 6" in ran.out
    assert "It ended at step 6: loss was not better than" in ran.out
    ran = run(*TRAIN, *RUN, "--max-steps", 50, *words)
    assert ran.code == 0
    assert "Trained" not in ran.out
    assert "It ended at step 6: loss was not better than" in ran.out
    assert checkpoint.latest("run") == Path("run/checkpoints/0000000006")


def test_a_trial_of_one_batch_tries_the_evaluations_too(run: Any, shop: Path) -> None:
    ran = run(*TRAIN, "--fast-dev-run", "--eval-data", f"test={TEST}")
    assert ran.code == 0
    assert "evaluate of test: 1 batch of 8" in ran.out
    assert not (shop / "run").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--eval-steps", 1), 2, "give --eval-data DIR too"),
        (("--export", "best"), 2, "give --eval-data DIR too"),
        (("--eval-data", TEST, "--export", "bset"), 2, "Did you mean 'best'?"),
        (("--eval-data", TEST, "--eval-data", TEST), 2, "given twice without a name"),
        (("--eval-data", "a=x", "--eval-data", "a=y"), 2, "given twice as a"),
        (("--eval-data", "nowhere"), 1, "nowhere"),
        (("--early-stopping", "loss:2"), 2, "give --eval-data DIR too"),
        (("--eval-data", TEST, "--early-stopping", "loss"), 2, "METRIC:PATIENCE"),
        (("--eval-data", TEST, "--early-stopping", "loss:0"), 2, "patience must be"),
        (("--eval-data", TEST, "--overfit-batches", 1), 2, "leave out --eval-data"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    run: Any, shop: Path, words: tuple[object, ...], code: int, said: str
) -> None:
    ran = run(*TRAIN, *RUN, *words)
    assert ran.code == code
    assert said in " ".join(ran.err.replace("│", " ").split())
    assert not (shop / "run").exists()


FOLLOW = ("evaluate", "digits.py", "--data", TEST, "--model-dir", "run", "--follow")


def test_a_run_that_has_ended_is_followed_to_its_end(run: Any, shop: Path) -> None:
    assert run(*TRAIN, *RUN, "--max-steps", 5).code == 0
    ran = run(*FOLLOW)
    assert ran.code == 0
    assert [line.split(":")[0] for line in ran.out.splitlines()] == [
        f"Evaluation at step {step}" for step in (2, 4, 5)
    ]
    assert "has ended: done" in ran.err
    assert steps(shop / "run/eval") == [2, 4, 5]
    ran = run(*FOLLOW, "--json")
    assert (ran.code, ran.out) == (0, "")
    ran = run(*FOLLOW, "--json", "--name", "again")
    assert [json.loads(line)["global_step"] for line in ran.out.splitlines()] == [2, 4, 5]


def test_a_live_run_of_another_process_is_followed(run: Any, shop: Path) -> None:
    words = [*TRAIN, *RUN, "--max-steps", 60, "--set", "optimizer.lr=0.01", "--no-progress"]
    words += ["--keep-checkpoint-max", 0, "--heartbeat-secs", 1]
    code = "import sys; from dovetail.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *map(str, words)]
    (shop / "run").mkdir()
    with subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL) as trains:
        ran = run(*FOLLOW, "--timeout", 100)
        assert trains.wait() == 0
    assert ran.code == 0
    found = [int(line.split(":")[0].split()[-1]) for line in ran.out.splitlines()]
    assert found == list(range(2, 61, 2))
    assert steps(shop / "run/eval") == found


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((*FOLLOW, "--timeout", 0.1), 1, "No checkpoint came to run in 0.1 seconds"),
        ((*FOLLOW, "--checkpoint-path", "x"), 2, "not both"),
        ((*FOLLOW[:-1], "--timeout", 3), 2, "give --follow too"),
    ],
)
def test_following_that_makes_no_sense_is_told(
    run: Any, shop: Path, words: tuple[object, ...], code: int, said: str
) -> None:
    (shop / "run").mkdir()
    ran = run(*words)
    assert ran.code == code
    assert said in " ".join(ran.err.replace("│", " ").split())

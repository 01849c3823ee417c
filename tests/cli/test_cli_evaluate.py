from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dovetail.run.estimator import Estimator
from dovetail.run.summaries import read_scalars

WORDS = ("evaluate", "digits.py", "--data", "demo/records/test")
RUN = ("--model-dir", "demo/model")


def test_the_metrics_are_those_of_the_estimator(run: Any, shop: Path) -> None:
    ran = run(*WORDS, *RUN, "--json")
    assert ran.code == 0
    expected = Estimator("digits.py", model_dir="demo/model").evaluate("demo/records/test")
    assert json.loads(ran.out) == expected
    assert set(expected) == {"accuracy", "loss", "global_step"}


def test_the_table_names_every_metric(run: Any, shop: Path) -> None:
    out = run(*WORDS, *RUN).out
    metrics = json.loads(run(*WORDS, *RUN, "--json").out)
    rows = dict(line.split() for line in out.splitlines())
    assert rows.pop("metric") == "value"
    assert {name: float(value) for name, value in rows.items()} == pytest.approx(metrics, rel=1e-5)


def test_a_named_evaluation_has_an_event_log_of_its_own(run: Any, shop: Path) -> None:
    assert run(*WORDS, *RUN, "--name", "hard").code == 0
    ((step, _),) = read_scalars(shop / "demo/model/eval_hard")["accuracy"]
    assert step == 4


def test_a_checkpoint_s_path_alone_is_enough(run: Any, shop: Path) -> None:
    ran = run(*WORDS, "--checkpoint-path", "demo/model/checkpoints/0000000000")
    assert ran.code == 0
    assert "global_step  0" in ran.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "--model-dir"),
        (("--model-dir", "absent"), 1, "There is no model_dir absent"),
        (("--model-dir", "demo"), 1, "There is no checkpoint in demo"),
        ((*RUN, "--checkpoint-path", "demo/model/checkpoints/7"), 1, "0000000004"),
        ((*RUN, "--eval-steps", 0), 2, "--eval-steps"),
    ],
)
def test_without_a_checkpoint_there_is_one_message(
    run: Any, shop: Path, words: tuple[object, ...], code: int, said: str
) -> None:
    ran = run(*WORDS, *words)
    assert ran.code == code
    assert said in ran.err
    assert not (shop / "absent").exists()


@pytest.mark.filterwarnings("default")
def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(run: Any, shop: Path) -> None:
    damaged = shop / "demo/model/checkpoints/0000000004/model.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    ran = run(*WORDS, *RUN)
    assert ran.code == 0
    assert "global_step  0" in ran.out
    assert "note: Checkpoint 0000000004 is passed over" in ran.err


def test_records_that_are_damaged_are_named(run: Any, shop: Path) -> None:
    (shard,) = (shop / "demo/records/test").glob("*.arrow")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    ran = run(*WORDS, *RUN)
    assert ran.code == 1
    assert shard.name in ran.err

"""The example of a params file, as its page runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dovetail.cli.main import main

PARAMS = Path(__file__).parents[2] / "examples" / "params_file" / "configs" / "params.yaml"


def test_it_trains_evaluates_and_predicts_digits_it_has_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)

    def run(*words: Any) -> str:
        assert main(["run", "--params", str(PARAMS), *map(str, words)]) == 0
        return capsys.readouterr().out

    assert "features.image: [32, 8, 8] float32" in run("--validate_only")
    assert not list(tmp_path.iterdir())
    run("--mode", "train_and_eval")
    assert len(run("--mode", "eval_all").splitlines()) == 5
    run("--mode", "predict")
    lines = Path("demo/params_file/predict/0000000675.jsonl").read_text().splitlines()
    predicted = [json.loads(line)["class"] for line in lines]
    labels = load_digits().target[::5]
    accuracy = np.mean(labels == predicted)
    assert accuracy >= 0.96
    # What the metric says is what is counted by hand.
    assert f"accuracy     {accuracy:.6g}" in run("--mode", "eval")

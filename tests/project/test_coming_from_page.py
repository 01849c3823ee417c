"""What docs/coming_from.md says is here is here: its names, its flags, and its model file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

import dovetail
from dovetail.cli.main import app
from dovetail.run.config import FIELDS

PAGE = (Path(__file__).parents[2] / "docs" / "coming_from.md").read_text(encoding="utf-8")
(MODEL,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
TABLES = re.sub(r"^```.*?^```", "", PAGE, flags=re.M | re.S)
ROWS = [line.strip("|").split(" | ") for line in TABLES.splitlines() if line.startswith("| ")]
OURS = [row[1] for row in ROWS if row[1].strip() != "here"]
CODE = [code for cell in OURS for code in re.findall(r"`([^`]+)`", cell)]
# What a user writes, and methods: names that are no settings of a run.
OF_THE_USER = {
    *("model", "loss", "eval_metrics_fn", "input_fn", "params", "loss_weight"),
    *("max_steps", "eval_metric_ops", "weights", "learning_rate"),
    *("model_fn", "train_step"),
}


def test_the_modules_and_names_exist() -> None:
    named = re.findall(
        r"(?<!keras\.)\b(optimizers|schedules|metrics|layers|hooks|summary)\.(\w+)", " ".join(CODE)
    )
    assert len(named) > 12
    for module, name in named:
        home = dovetail.optimizers.schedules if module == "schedules" else getattr(dovetail, module)
        assert hasattr(home, name), f"{module}.{name}"
    for name in re.findall(r"\bdovetail\.([A-Z]\w+)", PAGE):
        assert hasattr(dovetail, name), name


def test_the_flags_exist() -> None:
    said = CliRunner().invoke(app, ["train", "--help"], terminal_width=300).output
    for flag in sorted(set(re.findall(r"--[a-z][a-z-]+", " ".join(CODE))) - {"--output"}):
        assert flag in said, flag


def test_the_settings_of_a_run_exist() -> None:
    words = {
        word
        for code in CODE
        for word in re.findall(r"^([a-z_]+)(?:=.*)?$", code)
        if word not in OF_THE_USER
    }
    known = {
        *FIELDS,
        *("model_dir", "train_and_evaluate", "clip_norm", "clip_value", "callbacks", "hooks"),
    }
    assert words <= known, words - known
    assert len(words & set(FIELDS)) > 15


def test_the_model_file_trains(in_tmp: Path) -> None:
    Path("net.py").write_text(MODEL)
    random = np.random.default_rng(0)
    image = random.normal(size=(16, 8, 8)).astype(np.float32)
    config: Any = dovetail.RunConfig("run", device="cpu", progress=False)
    estimator = dovetail.Estimator("net.py", config=config, params={"optimizer": {"lr": 0.01}})
    batches = [({"image": image}, np.arange(16) % 10)] * 120
    before = estimator.train(lambda: batches, max_steps=1).evaluate(lambda: batches[:1])
    after = estimator.train(lambda: batches, max_steps=120).evaluate(lambda: batches[:1])
    assert after["loss"] < before["loss"] / 2
    assert after["accuracy"] > 0.9

"""What docs/model_file.md shows is run here."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from dovetail.cli.main import app
from dovetail.definition.model_lowering import PARTS

PAGE = (Path(__file__).parents[2] / "docs" / "model_file.md").read_text(encoding="utf-8")
(FILE,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
(COMMANDS,) = re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)


def test_every_part_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert sorted(rows) == sorted(PARTS)


def test_the_commands_train_and_evaluate_both_outputs(in_tmp: Path) -> None:
    digits = load_digits()
    np.savez("digits.npz", image=digits.images.astype(np.float32)[:900], label=digits.target[:900])
    Path("two_outputs.py").write_text(FILE)
    shown = ""
    for command in COMMANDS.splitlines():
        words = shlex.split(command)[1:]
        if words[0] == "prepare":
            words += ["--workers", "1"]
        else:
            words += ["--device", "cpu"]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        if words[0] == "evaluate":
            shown = result.output
    values = dict(re.findall(r"^ *(\S+) +([\d.e-]+)$", shown, re.M))
    assert set(values) >= {"digit/accuracy", "odd/auc", "loss", "global_step"}
    rows = [json.loads(line) for line in Path("predictions.jsonl").read_text().splitlines()]
    right = np.argmax([row["digit"] for row in rows], axis=1) == digits.target[:900]
    assert float(values["digit/accuracy"]) == round(float(right.mean()), 6) > 0.9
    exact = roc_auc_score(digits.target[:900] % 2, [row["odd"] for row in rows])
    assert abs(float(values["odd/auc"]) - exact) < 1e-6

"""What docs/estimator.md shows is run here, as one session."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dovetail.cli.main import main
from dovetail.definition.source import execute

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "estimator.md").read_text(encoding="utf-8")
MODEL, TRAIN, RUNS, NOTEBOOK, EXPORT = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
SCRIPT, COMMANDS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)


def run(text: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(text, "estimator.md", "exec"), names)
    return names


def test_the_files_the_runs_and_the_notebook(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    Path("model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(in_tmp))
    monkeypatch.delitem(sys.modules, "model", raising=False)
    try:
        names = run(TRAIN, {})
    finally:
        sys.modules.pop("model", None)
    printed = capsys.readouterr().out
    assert "'accuracy'" in printed
    assert "'global_step': 45" in printed  # 1,440 images in batches of 32
    assert len([line for line in printed.splitlines() if line.isdecimal()]) == 5

    run(RUNS, names)
    assert names["metrics"]["global_step"] == 40
    assert names["exports"][0].name == "0000000040"
    assert names["again"].get_variable_value("global_step") == 45
    assert "4 of 4 tensors taken" in capsys.readouterr().err

    run(NOTEBOOK, names)
    assert "conv2d.weight" in capsys.readouterr().out
    assert names["again"].mode == "eval"


def test_a_step_of_prediction_gives_the_export_outputs(capsys: pytest.CaptureFixture[str]):
    names = run(EXPORT, {})
    exported = names["outputs"]["export_outputs"]
    logits = names["outputs"]["predictions"]["logits"]
    assert {name: list(signature) for name, signature in exported.items()} == {
        "serving_default": ["classes"],
        "scores": ["probabilities"],
    }
    assert torch.equal(exported["serving_default"]["classes"], logits.argmax(-1))
    assert torch.equal(exported["scores"]["probabilities"], logits.softmax(-1))
    assert str(exported["serving_default"]["classes"]) in capsys.readouterr().out


def test_the_commands_run(in_tmp: Path):
    (script,) = SCRIPT.splitlines()
    assert (ROOT / script.split()[1]).is_file()  # tests/examples runs it
    draw, *commands = COMMANDS.splitlines()
    shapes = execute(ROOT / draw.split()[1])
    shapes.IMAGES.update(train=100, test=50)
    shapes.write(Path(draw.split()[2]))
    for command in commands:
        words = shlex.split(command.replace("examples/", f"{ROOT}/examples/"))[1:]
        if words[0] == "train":
            words += ["--device", "cpu"]
        assert main(words) == 0, command

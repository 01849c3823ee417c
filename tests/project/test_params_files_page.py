"""What docs/params_file.md shows is run here, on the example with fewer epochs."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dovetail import CSEstimatorSpec, ModeKeys, layers, metrics, optimizers
from dovetail.cli.main import main
from dovetail.definition.hparams import HParams

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "params_file.md").read_text(encoding="utf-8")
MODEL_FN, MODEL_PARAMS, FROM_PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
PARAMS = Path("examples/params_file/configs/params.yaml")


@pytest.fixture
def example(in_tmp: Path) -> Path:
    """The example in the working directory, one epoch long; returns its params file."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "examples/params_file", "examples/params_file", ignore=ignored)
    PARAMS.write_text(PARAMS.read_text().replace("epochs: 15", "epochs: 1"))
    return PARAMS


def test_every_command_and_the_lines_of_python_run(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda m, **kw: real(m, backend="eager", **kw))
    commands = re.findall(r"^    dovetail (run .*)$", PAGE, re.M)
    assert len(commands) == 6
    for command in commands:
        assert main(shlex.split(command)) == 0, command
    capsys.readouterr()
    exec(FROM_PYTHON, {})
    assert "'accuracy'" in capsys.readouterr().out


def test_the_model_fn_of_the_page_gives_a_spec():
    space: dict[str, Any] = {
        "CSEstimatorSpec": CSEstimatorSpec,
        "ModeKeys": ModeKeys,
        "functional": torch.nn.functional,
        "layers": layers,
        "metrics": metrics,
        "optimizers": optimizers,
    }
    exec(MODEL_FN, space)
    model = {"hidden_sizes": [4], "num_classes": 3}
    params = HParams(model=model, optimizer={"optimizer_type": "adam"})
    features, labels = {"image": torch.rand(5, 8, 8)}, torch.tensor([0, 1, 2, 0, 1])
    with layers.scope():
        spec = space["model_fn"](features, labels, ModeKeys.TRAIN, params)
    assert list(spec.host_call) == ["accuracy"]


def test_the_class_of_the_page_is_that_of_the_example():
    model = (ROOT / "examples/params_file/model.py").read_text(encoding="utf-8")
    assert all(line in model for line in MODEL_PARAMS.splitlines())


def test_the_optimizer_section_of_the_page_is_an_optimizer():
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    description = optimizers.from_params(yaml.safe_load(text)["optimizer"])
    rate = description.learning_rate
    assert [rate(0), rate(50)] == [0.0, 0.003]


def test_the_mistake_of_the_page_is_shown_as_the_page_shows_it(
    example: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    example.write_text(example.read_text().replace("weight_decay", "wieght_decay"))
    monkeypatch.chdir(example.parents[1])
    assert main(["run", "--params", "configs/params.yaml"]) == 1
    shown = " ".join(capsys.readouterr().err.split())
    (said,) = re.findall(r"^    (error: .*?) \.\.\.$", PAGE, re.M | re.S)
    assert shown.startswith(" ".join(said.split()))

"""What docs/training_controls.md shows is run here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import dovetail
from dovetail import layers
from dovetail.cli.main import app
from dovetail.data.record_writer import RecordWriter
from dovetail.run.bad_batch import save_batch

PAGE = (Path(__file__).parents[2] / "docs" / "training_controls.md").read_text(encoding="utf-8")
MODEL, WARM, BAD = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
(COMMAND,) = re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)


@pytest.fixture
def records(in_tmp: Path) -> Path:
    schema = dovetail.Schema(
        [dovetail.Field("x", (5,), "float32"), dovetail.Field("label", (1,), "int64")]
    )
    generator = np.random.default_rng(0)
    with RecordWriter(in_tmp / "records", schema) as writer:
        for number in range(80):
            writer.append((generator.normal(size=5).astype(np.float32), number % 3))
    return in_tmp / "records"


def tuned(features: Any, labels: Any, mode: str) -> dovetail.EstimatorSpec:
    """A model with the page's blocks and another head, its first layer called otherwise."""
    names: dict[str, Any] = {}
    exec(MODEL, names)
    x = layers.fully_connected(features["x"], 32, scope="encoder")
    for number in range(3):
        x = layers.block(names["block"], x, name=f"block_{number}")
    loss = layers.fully_connected(x, 7, scope="head").pow(2).mean()
    return dovetail.EstimatorSpec(mode, x, loss, dovetail.optimizers.SGD(0.1).minimize(loss))


def test_the_run_and_the_one_that_begins_with_it(
    records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("model.py").write_text(MODEL)
    result = CliRunner().invoke(app, shlex.split(COMMAND.replace("\\\n", ""))[1:])
    assert result.exit_code == 0, result.output
    names: dict[str, Any] = {}
    exec(WARM, names)
    config = names["config"].replace(device="cpu", progress=False)
    estimator = dovetail.Estimator(tuned, config=config, params={"batch_size": 8})
    estimator.train(records, max_steps=2)
    assert "14 of 16 tensors taken" in (said := capsys.readouterr().err), said
    assert "Not asked for: head.weight, head.bias" in said
    run = dovetail.Estimator("model.py", "run")
    average = run.get_variable_value("embed.weight")
    assert average.shape == (32, 5)
    assert torch.isfinite(torch.from_numpy(estimator.get_variable_value("encoder.weight"))).all()


def test_a_bad_batch_is_read_back(in_tmp: Path) -> None:
    save_batch(in_tmp / "run", 3, {"x": torch.ones(2, 5)}, torch.tensor([0, 1]))
    names: dict[str, Any] = {}
    exec(BAD, names)
    assert names["features"]["x"].shape == (2, 5)
    assert names["labels"].tolist() == [0, 1]

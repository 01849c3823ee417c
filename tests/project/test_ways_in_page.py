"""What docs/ways_in.md shows is run here: one model in each way, and the same numbers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dovetail
from dovetail.cli.main import main
from dovetail.data.order import batch_indices
from dovetail.definition.metrics import MetricSet
from dovetail.definition.source import execute
from dovetail.run import checkpoint, params_folder

PAGE = (Path(__file__).parents[2] / "docs" / "ways_in.md").read_text(encoding="utf-8")
DATA, *FILES, MOVED = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
PREPARE, RUN, RUN_PARAMS, RUN_PIPELINE = re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)
(PARAMS,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
NAMES = re.findall(r"^`(\w+\.py)`", PAGE, re.M)


def commanded(text: str) -> None:
    for command in text.splitlines():
        assert main([*shlex.split(command)[1:]]) == 0, command


@pytest.fixture
def folder(in_tmp: Path) -> Path:
    """Every file of the page, and the records, in the working directory."""
    exec(DATA, {})
    commanded(PREPARE)
    assert len(NAMES) == len(FILES) == 7
    for name, text in zip(NAMES, FILES, strict=True):
        Path(name).write_text(text)
    Path("configs").mkdir()
    Path("configs/params.yaml").write_text(PARAMS)
    return in_tmp


def by_hand() -> dict[str, Any]:
    """Train the classifier in numpy, on the batches that training on the records gives."""
    records = dovetail.Records("records")
    every = records.gather(np.arange(90))
    own = np.zeros((5, 3))
    order = batch_indices(0, 90, 0, 600)
    ones = np.ones((90, 1))
    x, one_hot = np.hstack([every["x"], ones]), np.eye(3)[every["label"]]

    def softmax(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    for batch in order.reshape(20, 30):
        own -= 0.5 * x[batch].T @ (softmax(x[batch] @ own) - one_hot[batch]) / 30
    likely = softmax(x @ own)
    return {
        "loss": -np.log(likely[np.arange(90), every["label"]]).mean(),
        "accuracy": (likely.argmax(1) == every["label"]).mean(),
    }


def test_every_way_gives_the_same_loss(folder: Path):
    for name in NAMES[:4]:
        commanded(RUN.replace("FILE", name))
    commanded(RUN_PARAMS)
    params = params_folder.read(params_folder.find("configs/params.yaml")).resolved
    made = {name: (name, f"{name}.run") for name in NAMES[:4]}
    made["params"] = (params.definition, "params.run")
    every = dovetail.Records("records").gather(np.arange(90))
    measured = {
        name: dovetail.Estimator(*of).evaluate(lambda: [({"x": every["x"]}, every["label"])])
        for name, of in made.items()
    }
    assert RUN_PIPELINE.split() == ["python", NAMES[-1]]
    program = execute(Path(NAMES[-1])).program
    steps = program.eval_step({"x": torch.as_tensor(every["x"])}, torch.as_tensor(every["label"]))
    own = MetricSet(program.statics("eval").metrics)
    own.update(steps["metrics"], weight=90)
    measured["pipeline"] = {
        "global_step": program.global_step,
        "loss": float(steps["loss"]),
        **own.compute(),
    }
    expected = by_hand()
    for name, values in measured.items():
        assert values["global_step"] == 20, name
        assert values["loss"] == pytest.approx(expected["loss"], rel=1e-5), name
        assert values["accuracy"] == pytest.approx(expected["accuracy"]), name
    torch_ones = [values["loss"] for name, values in measured.items() if name != "as_keras.py"]
    assert len(set(torch_ones)) == 1
    exec(MOVED, {})
    began = checkpoint.load(checkpoint.listed("moved")[0]).model
    trained = dovetail.Estimator("as_model_file.py", "as_model_file.py.run")
    for name in ("weight", "bias"):
        value = trained.get_variable_value(f"model.{name}")
        assert np.array_equal(began[f"fully_connected.{name}"], value)

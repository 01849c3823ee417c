from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dovetail.run.estimator import Estimator

WORDS = ("predict", "digits.py", "--data", "demo/records/test", "--model-dir", "demo/model")

SEVERAL = """class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(16, 3)

    def forward(self, image):
        logits = self.dense(image.flatten(1))
        grid = logits.reshape(-1, 3, 1).expand(-1, 3, 2)
        sure = logits.amax(1) > 0
        return {"logits": logits, "class": logits.argmax(1), "sure": sure, "grid": grid}


model = Several
"""


@pytest.fixture
def expected(shop: Path) -> np.ndarray:
    """What the Estimator predicts for the test images."""
    rows = Estimator("digits.py", model_dir="demo/model").predict("demo/records/test")
    return np.stack([row["output"] for row in rows])


def test_there_is_one_line_for_each_record_in_their_order(run: Any, expected: np.ndarray) -> None:
    ran = run(*WORDS, "--batch-size", 4)
    assert ran.code == 0
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [list(row) for row in rows] == [["output"]] * 9
    found = np.array([row["output"] for row in rows], np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_float32_is_written_so_that_it_is_read_back_exactly(
    run: Any, expected: np.ndarray
) -> None:
    rows = [json.loads(line) for line in run(*WORDS).out.splitlines()]
    np.testing.assert_array_equal(np.array([r["output"] for r in rows], np.float32), expected)


def test_a_file_gets_the_lines_when_it_is_whole(run: Any, shop: Path) -> None:
    lines = run(*WORDS).out
    ran = run(*WORDS, "--output", "new/p.jsonl")
    assert ran.code == 0
    assert "9 predictions in new/p.jsonl" in ran.out
    assert (shop / "new/p.jsonl").read_text() == lines
    assert [path.name for path in (shop / "new").iterdir()] == ["p.jsonl"]


@pytest.fixture
def several(run: Any, shop: Path) -> Path:
    """The shop with a model of several predictions, trained anew."""
    text = (shop / "digits.py").read_text()
    for old, new in (
        ("def model():\n    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))\n", SEVERAL),
        ("cross_entropy(output,", 'cross_entropy(output["logits"],'),
        ("predictions.argmax(dim=1)", 'predictions["class"]'),
    ):
        assert old in text
        text = text.replace(old, new)
    (shop / "digits.py").write_text(text)
    words = ("--data", "demo/records/train", "--model-dir", "demo/model", "--max-steps", 1)
    (shop / "demo/model").rename(shop / "demo/before")
    assert run("train", "digits.py", *words).code == 0
    return shop


def test_an_arrow_file_holds_the_same_as_the_lines(run: Any, several: Path) -> None:
    lines = [json.loads(line) for line in run(*WORDS).out.splitlines()]
    assert run(*WORDS, "--output", "p.arrow", "--batch-size", 4).code == 0
    with pa.OSFile("p.arrow") as file:
        table = pa.ipc.open_file(file).read_all()
    assert table.schema.field("class").type == pa.int64()
    assert table.schema.field("sure").type == pa.bool_()
    assert table.schema.field("logits").type == pa.large_list(pa.float32())
    assert table.num_rows == len(lines) == 9
    for found, line in zip(table.to_pylist(), lines, strict=True):
        assert found["class"] == line["class"]
        assert found["sure"] == line["sure"]
        np.testing.assert_allclose(found["logits"], line["logits"], rtol=1e-5)
        assert np.shape(found["grid"]) == np.shape(line["grid"]) == (3, 2)


def test_only_the_predictions_asked_for_are_written(run: Any, several: Path) -> None:
    rows = [
        json.loads(line)
        for line in run(*WORDS, "--predict-keys", "class, sure").out.split("\n")[:-1]
    ]
    assert [list(row) for row in rows] == [["class", "sure"]] * 9


def test_an_unknown_prediction_is_a_mistake_and_leaves_no_file(run: Any, several: Path) -> None:
    ran = run(*WORDS, "--predict-keys", "clas", "--output", "p.jsonl")
    assert ran.code == 1
    assert "Did you mean 'class'?" in ran.err
    assert not list(several.glob("*p.jsonl*"))


def test_process_gets_every_batch(run: Any, shop: Path) -> None:
    with (shop / "digits.py").open("a") as file:
        file.write(
            "\n\ndef process(predictions, worker_id):\n"
            "    with open('seen.txt', 'a') as seen:\n"
            "        print(worker_id, type(predictions).__name__, predictions.shape, file=seen)\n"
        )
    assert run(*WORDS, "--batch-size", 4).code == 0
    seen = (shop / "seen.txt").read_text().splitlines()
    assert seen == ["0 ndarray (4, 3)", "0 ndarray (4, 3)", "0 ndarray (1, 3)"]


def test_process_gets_the_outputs_of_a_model_of_several_by_name(run: Any, several: Path) -> None:
    with (several / "digits.py").open("a") as file:
        file.write(
            "\n\ndef process(predictions, worker_id):\n"
            "    with open('seen.txt', 'a') as seen:\n"
            "        print({name: len(rows) for name, rows in predictions.items()}, file=seen)\n"
        )
    assert run(*WORDS, "--batch-size", 9).code == 0
    seen = (several / "seen.txt").read_text()
    assert seen == "{'logits': 9, 'class': 9, 'sure': 9, 'grid': 9}\n"


def test_process_that_raises_names_its_line_and_leaves_no_file(run: Any, shop: Path) -> None:
    with (shop / "digits.py").open("a") as file:
        file.write("\n\ndef process(predictions, worker_id):\n    raise ValueError('full')\n")
    ran = run(*WORDS, "--output", "p.jsonl")
    assert ran.code == 1
    assert "ValueError: full" in ran.err
    assert "in process" in ran.err
    assert not list(shop.glob("*p.jsonl*"))


@pytest.mark.parametrize("output", ["demo", "digits.py/p.jsonl"])
def test_an_output_that_cannot_be_written_is_a_mistake(run: Any, shop: Path, output: str) -> None:
    ran = run(*WORDS, "--output", output)
    assert ran.code == 1
    assert f"--output {output}" in ran.err


def test_numbers_that_are_not_finite_are_text_that_every_reader_takes(run: Any, shop: Path) -> None:
    text = (shop / "digits.py").read_text()
    scaled = "class Log(nn.Module):\n    def forward(self, x):\n        return torch.log(x * 0)\n"
    text = text.replace("def model():", f"{scaled}\n\ndef model():")
    text = text.replace("nn.Linear(16, 3))", "nn.Linear(16, 3), Log())")
    (shop / "digits.py").write_text(text)
    ran = run(*WORDS, "--batch-size", 9)
    assert ran.code == 0
    assert json.loads(ran.out.splitlines()[0]) == {"output": ["-Infinity"] * 3}

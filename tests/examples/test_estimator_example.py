"""The example of the Estimator page, run as a user runs it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dovetail
from dovetail.cli.main import main
from dovetail.definition.source import execute
from dovetail.run import summaries

FOLDER = Path(__file__).parents[2] / "examples" / "estimator"


def train_model(cwd: Path, *words: object) -> tuple[dict[str, float], Path, str]:
    """Run the script; return what it measured, its model_dir, and what it said."""
    ran = subprocess.run(
        [sys.executable, FOLDER / "train_model.py", "--small", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    measured, classes, place = ran.stdout.splitlines()
    assert len(classes.split()) == 32
    found = re.fullmatch(r"The model is in (.*)\.", place)
    assert found
    return ast.literal_eval(measured), cwd / found[1], ran.stderr


def test_the_script_trains_and_goes_on_where_it_stopped(tmp_path: Path):
    measured, model_dir, _ = train_model(tmp_path, "--max_steps", 260)
    assert measured["global_step"] == 260
    assert measured["accuracy"] > 0.4  # of 50 classes
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", model_dir.name)
    assert model_dir.parent == tmp_path / "results"
    saved = sorted(path.name for path in (model_dir / "checkpoints").iterdir())
    assert [int(name) for name in saved] == [0, 250, 260]
    for name in ("train_model.py", "small_model.py", "model.py", "shapes.py"):
        assert (model_dir / name).read_bytes() == (FOLDER / name).read_bytes()
    steps = [step for step, _ in summaries.read_scalars(model_dir)["loss"]]
    assert steps == [1, *range(10, 261, 10)]

    again, same, said = train_model(tmp_path, "--model_dir", model_dir, "--max_steps", 300)
    assert same == model_dir
    assert again["global_step"] == 300
    assert "8,256 examples" in said  # of 260 steps, each epoch's last batch a short one
    assert [path.name for path in (tmp_path / "results").iterdir()] == [model_dir.name]


def test_its_small_model_is_a_definition_for_every_command(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
):
    shapes = execute(FOLDER / "shapes.py")
    shapes.IMAGES.update(train=100, test=50)
    shapes.write(Path("images"))
    model = str(FOLDER / "small_model.py")
    for split in ("train", "test"):
        assert main(["prepare", model, f"images/{split}/*/*.png", "--output", split]) == 0
    run = ["--model-dir", "run", "--device", "cpu"]
    assert main(["train", model, "--data", "train", *run, "--max-steps", "3"]) == 0
    assert main(["evaluate", model, "--data", "test", *run]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_the_shapes_are_the_same_each_time_and_all_differ():
    shapes = execute(FOLDER / "shapes.py")
    params = dovetail.load(FOLDER / "small_model.py").params
    first, again = (next(shapes.input_fn(params, "train")) for _ in range(2))
    assert np.array_equal(first[0]["image"], again[0]["image"])
    assert first[0]["image"].shape == (32, 48, 32, 3)
    drawn = [
        shapes.draw(label, 48, 32, np.random.default_rng(3)) for label in range(shapes.CLASSES)
    ]
    assert shapes.CLASSES == 50
    assert len({image.tobytes() for image in drawn}) == 50

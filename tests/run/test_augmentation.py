"""Augmentation by example, in input_fn and in preprocess, through whole runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dovetail.data.example_random import example_seeds
from dovetail.data.order import batch_indices
from dovetail.run.estimator import Estimator

STEPS = 12  # of batches of 8 out of 37 examples: two and a half epochs
SETTINGS = {"save_summary_steps": 1, "save_checkpoints_steps": 4, "parts": 2, "seed": 3}

MODEL_FILE = """
from pathlib import Path

import torch

import dovetail
from dovetail import augment, metrics, optimizers

SEEN = Path(__file__).parent / "seen.txt"


def model():
    return torch.nn.Linear(5, 3)


def data_schema():
    return [
        {"name": "x", "shape": [5], "dtype": "float32"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]


def prepare_data_for_a_single_file(filename):
    raise AssertionError("not asked for")


def input_fn(records, mode):
    x, label = records["x"], records["label"].reshape(-1)
    if mode != dovetail.ModeKeys.TRAIN:
        return {"x": x}, label
    noise = records.uniform(-0.1, 0.1, (5,))
    x = x + noise
    with SEEN.open("a") as file:
        for at, row in enumerate(x):
            scale = records.random(at).uniform(0.9, 1.1)
            row *= scale
            print(records.seeds[at], noise[at].tolist(), scale, file=file)
    return {"x": x, "seeds": records.seeds}, label


def preprocess(features):
    if "seeds" not in features:
        return {"input": features["x"]}
    return {"input": features["x"] * augment.uniform(features["seeds"], 0.5, 1.5, (5,))}


def loss(output, labels):
    return torch.nn.functional.cross_entropy(output, labels)


def optimizer(lr=0.05):
    return optimizers.Adam(learning_rate=lr)


def eval_metrics_fn(predictions, labels):
    return {"accuracy": metrics.accuracy(labels, predictions.argmax(1))}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.py"
    path.write_text(MODEL_FILE)
    return path


def test_a_killed_run_augments_on_as_if_it_had_not_been(
    make: Callable[..., Estimator],
    model: Path,
    records: Path,
    tmp_path: Path,
    assert_same_state: Callable[..., None],
):
    whole = make("whole", model, **SETTINGS).train(records, max_steps=STEPS)
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, signal, time
        from dovetail.run.config import RunConfig
        from dovetail.run.estimator import Estimator
        from dovetail.run.hooks import Hook

        class Kill(Hook):
            def before_step(self, run):
                if run.step == 7:
                    saved = run.model_dir / "checkpoints" / "0000000004"
                    while not saved.is_dir():  # it is written beside the steps
                        time.sleep(0.01)
                    os.kill(os.getpid(), signal.SIGKILL)

        config = RunConfig(device="cpu", progress=False, **{SETTINGS!r})
        estimator = Estimator({str(model)!r}, {str(tmp_path / "again")!r}, config,
                              {{"batch_size": 8}})
        estimator.train({str(records)!r}, hooks=[Kill()], max_steps={STEPS})
        """)
    )
    ended = subprocess.run([sys.executable, script], timeout=100)
    assert ended.returncode == -signal.SIGKILL
    again = make("again", model, **SETTINGS)
    assert again.get_variable_value("global_step") == 4
    again.train(records, max_steps=STEPS)
    assert_same_state(whole, again)
    other = make("other", model, **{**SETTINGS, "seed": 4}).train(records, max_steps=STEPS)
    with pytest.raises(AssertionError):
        assert_same_state(whole, other)
    assert set(whole.evaluate(records)) == {"accuracy", "loss", "global_step"}
    assert len(list(whole.predict(records))) == 37


def test_an_example_is_augmented_alike_in_batches_of_any_size_and_after_any_resume(
    make: Callable[..., Estimator], model: Path, records: Path, tmp_path: Path
):
    # Each run is its stops and batch sizes: a run may go on with batches of another size.
    runs = {"one": [(74, 1)], "fives": [(22, 5)], "several": [(3, 8), (14, 5), (20, 4)]}
    epochs = np.arange(74) // 37
    expected = example_seeds(3, epochs, batch_indices(3, 37, 0, 74)).tolist()
    drawn: list[dict[int, str]] = []
    for name, stops in runs.items():
        seen: dict[int, str] = {}
        for stop, batch_size in stops:
            estimator = make(name, model, {"batch_size": batch_size}, seed=3, prefetch=stop % 3)
            estimator.train(records, max_steps=stop)
            for line in (tmp_path / "seen.txt").read_text().splitlines():
                seed, values = line.split(maxsplit=1)
                assert seen.setdefault(int(seed), values) == values
            (tmp_path / "seen.txt").unlink()
        assert list(seen)[:74] == expected
        drawn.append({seed: seen[seed] for seed in expected})
    assert drawn[0] == drawn[1] == drawn[2]
    assert len(set(drawn[0].values())) == 74

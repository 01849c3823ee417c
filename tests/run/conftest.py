"""A small model with all that a resume must put back, and records to train it on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import dovetail
from dovetail import layers, metrics, optimizers
from dovetail.data.record_writer import RecordWriter
from dovetail.run import checkpoint
from dovetail.run.config import RunConfig
from dovetail.run.estimator import Estimator

ROWS, INPUTS, CLASSES = 37, 5, 3
"""37 examples in batches of 8: batches cross epochs, and the last of two epochs is short."""


def noisy_model_fn(features, labels, mode, params):
    """Classify with batch norm, dropout, and Adam under a schedule."""
    x = layers.fully_connected(features["x"], 6, activation_fn=torch.relu)
    x = layers.batch_norm(x, decay=0.9)
    x = layers.dropout(x, keep_prob=0.7)
    logits = layers.fully_connected(x, CLASSES, activation_fn=None)
    predictions = {"class": logits.argmax(1), "probabilities": logits.softmax(1)}
    if mode == dovetail.ModeKeys.PREDICT:
        return dovetail.EstimatorSpec(mode, predictions)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    schedule = optimizers.schedules.Cosine(0.05, 40)
    return dovetail.EstimatorSpec(
        mode,
        predictions,
        loss,
        optimizers.Adam(schedule, weight_decay=0.01).minimize(loss),
        {"accuracy": metrics.accuracy(labels, predictions["class"])},
    )


@pytest.fixture
def model_fn() -> Callable[..., Any]:
    return noisy_model_fn


@pytest.fixture(scope="session")
def table() -> dict[str, np.ndarray]:
    """The examples: x float32 [37, 5], label int64 [37, 1]."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS, INPUTS)).astype(np.float32)
    return {"x": x, "label": x[:, :CLASSES].argmax(1).reshape(-1, 1)}


@pytest.fixture(scope="session")
def records(table: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples as records."""
    folder = tmp_path_factory.mktemp("data") / "records"
    schema = dovetail.Schema(
        [dovetail.Field("x", (INPUTS,), "float32"), dovetail.Field("label", (1,), "int64")]
    )
    with RecordWriter(folder, schema) as writer:
        for x, label in zip(table["x"], table["label"], strict=True):
            writer.append({"x": x, "label": label})
    return folder


@pytest.fixture
def batches(table: dict[str, np.ndarray]) -> Callable[[int], list[Any]]:
    """The examples in their order, in batches of some size, as an input_fn may give them."""

    def cut(size: int) -> list[Any]:
        labels = table["label"].reshape(-1)
        return [
            ({"x": table["x"][i : i + size]}, labels[i : i + size]) for i in range(0, ROWS, size)
        ]

    return cut


@pytest.fixture(scope="session")
def make_in() -> Callable[..., Estimator]:
    """Make an Estimator of the noisy model in a folder, quiet, on the CPU."""

    def made(
        model_dir: Path,
        model_fn: Callable[..., Any] = noisy_model_fn,
        params: dict[str, Any] | None = None,
        **config: Any,
    ) -> Estimator:
        config = {"device": "cpu", "progress": False, **config}
        params = {"batch_size": 8, **(params or {})}
        return Estimator(model_fn, model_dir, RunConfig(**config), params)

    return made


@pytest.fixture
def make(make_in: Callable[..., Estimator], tmp_path: Path) -> Callable[..., Estimator]:
    """Make an Estimator of the noisy model in `tmp_path/<name>`."""

    def made(name: str = "run", *args: Any, **kwargs: Any) -> Estimator:
        return make_in(tmp_path / name, *args, **kwargs)

    return made


@pytest.fixture
def state_of() -> Callable[..., SimpleNamespace]:
    """All of the newest checkpoint of an Estimator or model_dir but its path."""

    def state(of: Estimator | Path) -> SimpleNamespace:
        folder = of.model_dir if isinstance(of, Estimator) else of
        newest = checkpoint.latest(folder)
        assert newest is not None
        loaded = checkpoint.load(newest)
        return SimpleNamespace(
            step=loaded.step, model=loaded.model, optimizer=loaded.optimizer, state=loaded.state
        )

    return state


@pytest.fixture
def assert_same_state(state_of: Callable[..., SimpleNamespace]) -> Callable[..., None]:
    """Compare the newest checkpoints of two runs, bit for bit: parameters, buffers, optimizer."""

    def same(one: Estimator | Path, other: Estimator | Path) -> None:
        a, b = state_of(one), state_of(other)
        assert a.step == b.step
        assert a.state["position"] == b.state["position"]
        for left, right in ((a.model, b.model), (a.optimizer, b.optimizer)):
            assert left.keys() == right.keys()
            for name, value in left.items():
                if isinstance(value, torch.Tensor):
                    assert torch.equal(value, right[name]), name
                else:
                    assert value == right[name], name

    return same

"""A small training that hooks look on at, quick and quiet, through `dovetail.Estimator`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import dovetail
from dovetail import layers, metrics, optimizers, summary

BATCH = 8


def model_fn(features, labels, mode, params):
    """A line through points, with a metric, summaries of each kind, and a prediction."""
    x = features["x"]
    y = layers.fully_connected(x, 1, activation_fn=None, scope="line")
    predictions = {"y": y, "odd": torch.log(x - params.hole)}
    if mode == dovetail.ModeKeys.PREDICT:
        return dovetail.EstimatorSpec(mode, predictions)
    loss = torch.mean((y - labels) ** 2)
    summary.scalar("spread", y.detach().std())
    summary.histogram("all_y", y)
    return dovetail.EstimatorSpec(
        mode,
        predictions,
        loss,
        optimizers.SGD(params.learning_rate).minimize(loss),
        {"error": metrics.mean_absolute_error(labels, y)},
    )


class Noted(dovetail.Hook):
    """Keeps what is shown, and why the run ended."""

    def __init__(self):
        self.lines: list[str] = []
        self.why = ""
        self.steps: list[int] = []

    def begin(self, run):
        run.show = self.lines.append
        self.program = run.program

    def after_step(self, run, output):
        self.steps.append(run.step)

    def end(self, run):
        self.why = run.why


@pytest.fixture
def input_fn() -> Callable[[], Any]:
    """100 batches of 8 points of y = 3 x, each with a picture."""
    generator = np.random.default_rng(0)
    x = generator.uniform(0.5, 1, (100, BATCH, 1)).astype(np.float32)
    photos = generator.integers(0, 255, (100, BATCH, 6, 5, 3), np.uint8)
    return lambda: [({"x": one, "photo": p}, 3 * one) for one, p in zip(x, photos, strict=True)]


@pytest.fixture
def train(input_fn: Callable[[], Any], tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Train under hooks in `tmp_path/run`; what was shown and done comes back."""

    def trained(
        *hooks: Any,
        steps: int | None = 20,
        max_steps: int | None = None,
        hole: float = 0.0,
        name: str = "run",
        model_fn: Callable[..., Any] = model_fn,
        **config: Any,
    ) -> SimpleNamespace:
        noted = Noted()
        config = {"device": "cpu", "progress": False, "save_summary_steps": 10, **config}
        estimator = dovetail.Estimator(
            model_fn,
            tmp_path / name,
            dovetail.RunConfig(**config),
            {"learning_rate": 0.1, "hole": hole},
        )
        if max_steps is not None:
            steps = None
        estimator.train(input_fn, hooks=[noted, *hooks], steps=steps, max_steps=max_steps)
        return SimpleNamespace(
            estimator=estimator,
            lines=noted.lines,
            why=noted.why,
            program=noted.program,
            steps=noted.steps,
            folder=Path(estimator.model_dir),
        )

    return trained

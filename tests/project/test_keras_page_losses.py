"""The losses and metrics that docs/keras.md shows are run here, and its order of names is held."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import dovetail
from dovetail.definition.argument_order import labels_first

PAGE = (Path(__file__).parents[2] / "docs" / "keras.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Losses and metrics")[2].partition("\n## ")[0]


def test_the_model_file_shows_the_metrics_that_the_page_says(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", SECTION, re.M | re.S)
    (tmp_path / "digits.py").write_text(code)
    drawn = np.random.default_rng(0)
    digit = drawn.integers(0, 10, 40)
    images = (drawn.random((40, 4, 4)) + digit[:, None, None] / 5).astype(np.float32)

    def input_fn():
        for rows in (slice(0, 30), slice(30, 40)):
            yield {"image": images[rows]}, {"digit": digit[rows], "odd": digit[rows, None] % 2}

    config = dovetail.RunConfig(model_dir=str(tmp_path / "run"), device="cpu")
    estimator = dovetail.Estimator(tmp_path / "digits.py", config=config)
    estimator.train(input_fn)
    values = estimator.evaluate(input_fn)
    (said,) = re.findall(r"An evaluation shows (.*?)\. ", SECTION, re.S)
    assert set(values) == set(re.findall(r"`(.*?)`", said))
    (predicted,) = estimator.predict(lambda: [{"image": images}], yield_single_examples=False)
    sure = np.abs(predicted["odd"] - 0.5) > 0.4
    assert values["odd/sure"] == pytest.approx(sure.mean())


@pytest.mark.parametrize("predictions", ["predictions", "logits", "outputs", "scores"])
@pytest.mark.parametrize("labels", ["labels", "label", "y", "truth"])
def test_the_names_that_the_page_lists_decide(labels: str, predictions: str) -> None:
    assert f"`{labels}`" in SECTION
    assert f"`{predictions}`" in SECTION
    first = eval(f"lambda {labels}, {predictions}: 0")
    second = eval(f"lambda {predictions}, {labels}: 0")
    for otherwise in (True, False):
        assert labels_first(first, otherwise)
        assert not labels_first(second, otherwise)


def test_an_unknown_order_is_that_of_the_part() -> None:
    assert labels_first(torch.nn.functional.mse_loss, otherwise=True) is False
    assert labels_first(lambda a, b: 0, otherwise=True)

"""Which of two values is the better one, the same before a restart and after."""

from __future__ import annotations

import math

import pytest
import torch

from dovetail.run.better import better, comparable, lower_is_better


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        ("loss", True),
        ("test/Loss", True),
        ("root_mean_squared_error", True),
        ("perplexity", True),
        ("rmse", True),
        ("mae", True),
        ("false_positives", True),
        ("accuracy", False),
        ("auc", False),
        ("f1", False),
        ("top_5", False),
    ],
)
def test_a_metric_s_name_says_which_way_it_gets_better(name: str, lower: bool):
    assert lower_is_better(name) is lower
    assert lower_is_better(name, "higher") is False
    assert lower_is_better(name, "lower") is True


def test_values_are_compared_as_torch_rounds_them_to_float32():
    values = [0.1, 1 / 3, -2.5e-8, 1e30, 0.0, 123456789.123]
    found = comparable({str(number): value for number, value in enumerate(values)})
    assert list(found.values()) == torch.tensor(values, dtype=torch.float32).tolist()


def test_what_float32_does_not_hold_is_kept_and_what_is_no_number_is_left_out():
    found = comparable({"a": math.inf, "b": math.nan, "c": [1.0], "d": 3, "e": "text"})
    assert found["a"] == math.inf
    assert math.isnan(found["b"])
    assert list(found) == ["a", "b"]


@pytest.mark.parametrize(
    ("new", "old", "lower", "min_delta", "expected"),
    [
        (0.5, 0.6, True, 0.0, True),
        (0.6, 0.6, True, 0.0, False),
        (0.5, 0.6, False, 0.0, False),
        (0.5, 0.6, True, 0.2, False),
        (0.9, 0.6, False, 0.2, True),
        (math.nan, 0.6, True, 0.0, False),
        (0.6, math.nan, False, 0.0, True),
        (math.nan, math.nan, True, 0.0, False),
    ],
)
def test_better_is_by_more_than_the_least_that_counts(
    new: float, old: float, lower: bool, min_delta: float, expected: bool
):
    assert better(new, old, lower=lower, min_delta=min_delta) is expected

"""What tests share. Nothing here applies to a test that does not ask for it by name.

Tests that draw cases (hypothesis, or kills at random steps) run a seeded subset, so that two runs
test the same; `pytest --soak` runs them in full.
"""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

os.environ["KERAS_BACKEND"] = "torch"  # Keras reads it when it is imported

hypothesis.settings.register_profile("subset", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.register_profile("soak", deadline=None, max_examples=1000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the full counts, which takes long")


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("soak" if config.getoption("--soak") else "subset")


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether to run the full counts instead of the subset."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory for the length of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path

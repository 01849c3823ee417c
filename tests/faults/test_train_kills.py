"""A run killed at any moment and started again ends as the one never killed, bit for bit.

One has shuffling, augmentation, dropout, batch norm, accumulation, a schedule, averages and bf16;
others fp16 and an input that has no positions, or a pipeline that works ahead.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("way", ["kill_at_a_moment", "kill_at_an_event"])
def test_a_run_killed_again_and_again_ends_bit_equal(
    way: str,
    command: Any,
    whole: Path,
    tmp_path: Path,
    same_end: Callable[[Path, Path], None],
    record_testsuite_property: Callable[[str, object], None],
    soak: bool,
) -> None:
    rng = random.Random(way)
    wanted, struck, trial = (100, 0, 0) if soak else (3, 0, 0)
    while struck < wanted:
        model_dir = tmp_path / str(trial)
        struck += command.killed_until_done(model_dir, rng, getattr(command, way), wanted - struck)
        same_end(whole, model_dir)
        trial += 1
        assert trial <= wanted  # most runs are struck
    record_testsuite_property(f"kills of a run, {way}", struck)


@pytest.mark.parametrize("source", ["iterable", "pipeline"])
def test_a_run_on_python_code_killed_again_and_again_ends_bit_equal(
    source: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    same_end: Callable[[Path, Path], None],
    record_testsuite_property: Callable[[str, object], None],
    soak: bool,
) -> None:
    command, rng, struck = request.getfixturevalue(f"{source}_command"), random.Random(0), 0
    command.done(tmp_path / "whole")
    for trial in range(20 if soak else 1):
        model_dir = tmp_path / str(trial)
        struck += command.killed_until_done(model_dir, rng, command.kill_at_an_event, 3)
        assert struck > trial
        same_end(tmp_path / "whole", model_dir)
    article = "an" if source == "iterable" else "a"
    record_testsuite_property(f"kills of a run on {article} {source}", struck)

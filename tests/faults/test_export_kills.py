"""What a run exports is the same whether it was killed or not: the best above all."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dovetail.run import checkpoint

EXPORTS = ("--export", "best", "--export", "latest", "--export", "final")


@pytest.fixture(scope="module")
def exporting(command: Any) -> Any:
    return replace(command, flags=(*command.flags, *EXPORTS), steps=28)


def exported(model_dir: Path) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """The steps in each exporter's folder, every one of which loads, and what is the best."""
    found = {}
    for folder in sorted((model_dir / "export").iterdir()):
        paths = sorted(path for path in folder.iterdir() if path.is_dir())
        found[folder.name] = [checkpoint.load(path).step for path in paths]
    return found, json.loads((model_dir / "export" / "best" / "best.json").read_text())


def test_a_run_killed_again_and_again_exports_what_the_whole_one_does(
    exporting: Any,
    tmp_path: Path,
    same_end: Callable[[Path, Path], None],
    record_testsuite_property: Callable[[str, object], None],
    soak: bool,
) -> None:
    whole = tmp_path / "whole"
    exporting.done(whole)
    expected = exported(whole)
    rng, wanted, struck, trial = random.Random(5), 40 if soak else 4, 0, 0
    while struck < wanted:
        model_dir = tmp_path / str(trial)

        def kill(model_dir: Path, rng: random.Random) -> bool:
            """Kill a run right before it does something to a file in the folder of exports."""
            fault = {"folder": str(model_dir), "like": "/export/", "do": "kill"}
            ended = exporting.run(model_dir, {**fault, "at": rng.randint(1, 60)})
            assert ended.code in (0, -signal.SIGKILL), ended.err
            return ended.code != 0

        struck += exporting.killed_until_done(model_dir, rng, kill, wanted - struck)
        assert exported(model_dir) == expected
        same_end(whole, model_dir)
        trial += 1
        assert trial <= wanted
    record_testsuite_property("kills of a run in its exports", struck)

"""What docs/pipelines.md shows is run here, and what it lists is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dovetail
from dovetail.data.pipeline.flow import Pass
from dovetail.data.pipeline.model_actions import ModelActions

PAGE = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")


def test_the_code_runs_from_top_to_bottom() -> None:
    names: dict[str, Any] = {}
    for text in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S):
        exec(compile(text, "pipelines.md", "exec"), names)
    spec = names["train_pipeline"].get_model_by_name("brightness")
    assert spec["seen"] == 200
    assert spec["shape"] == (8, 8, 1)


def test_the_steps_and_options_that_it_names_are_there() -> None:
    steps = re.findall(r"^\| `\.(\w+)\(", PAGE, re.M)
    assert steps[1:] == ["call", "filter", "update_variable", "rebatch", "join", "merge"]
    assert all(hasattr(dovetail.Pipeline, name) for name in steps[1:])
    assert {"prefetch", "target"} <= set(Pass.__dataclass_fields__)
    for name in ("train_model", "evaluate_model", "predict_model", "save_model", "load_model"):
        assert f"`{name}(" in PAGE
        assert hasattr(ModelActions, name)

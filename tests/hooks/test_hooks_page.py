"""What docs/hooks.md shows is run here, and its tables name what is there."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import dovetail
from dovetail import hooks
from dovetail.run.hooks import METHODS, Run

PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8")


def test_the_lines_of_python_run_and_do_what_is_said(in_tmp, capsys):
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(code, "hooks.md", "exec"), names)
    told = capsys.readouterr()
    assert re.findall(r"^step (\d+): loss [\d.e-]+  error", told.err, re.MULTILINE) == [
        "1",
        "5",
        "10",
    ]
    assert told.out.startswith(
        "[1, 5, 10] ['step', 'time', 'loss', 'learning_rate', 'error', 'largest']"
    )
    assert "the loss was between" in told.err
    assert [path.name for path in Path("run/profile").glob("*.json")]
    assert {"StopWhen", "StepTimes"} <= set(names["hooks"].__all__)
    assert_they_belong_to_the_model(names, capsys)


def assert_they_belong_to_the_model(names: dict[str, Any], capsys: Any) -> None:
    """The page's `callbacks` beside its model_fn, as a file has them."""
    line = ModuleType("line")
    line.__dict__.update(model_fn=names["model_fn"], callbacks=names["callbacks"])
    given = {"callbacks": {"patience": 1}, "log_every": 2}
    estimator = dovetail.Estimator(line, "of_the_model", params=given)
    spec = dovetail.EvalSpec(names["input_fn"], steps=1)
    train_spec = dovetail.TrainSpec(names["input_fn"], max_steps=4)
    dovetail.train_and_evaluate(estimator, train_spec, spec)
    told = capsys.readouterr().err
    assert re.findall(r"^step (\d+): loss", told, re.MULTILINE) == ["1", "2", "4"]


def test_every_hook_is_in_the_table():
    assert re.findall(r"^\| `(\w+)\(.*?\)", PAGE, re.MULTILINE)[:16]
    listed = set(re.findall(r"^\| `([A-Z]\w+)\(", PAGE, re.MULTILINE))
    assert listed == set(hooks.__all__)


def test_every_method_of_the_protocol_is_in_the_table():
    assert tuple(re.findall(r"^\| `([a-z_]+)\(run", PAGE, re.MULTILINE)) == METHODS


def test_what_a_run_has_is_what_the_page_says():
    said = set(re.findall(r"`(\w+)(?:\(\w*\))?`", PAGE[PAGE.index("`run` has") :].split("\n\n")[0]))
    assert said - {"run", "end"} <= set(dir(Run)) | set(Run.__dataclass_fields__)

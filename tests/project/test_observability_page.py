"""What docs/observability.md shows is run here, on the model file of the README."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dovetail.cli.main import main
from dovetail.data.record_writer import RecordWriter
from dovetail.data.schema import Schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command(start: str) -> list[str]:
    """Return the words of the page's command that begins so."""
    joined = PAGE.replace("\\\n", " ")
    (line,) = re.findall(rf"^    (dovetail {start}.*)$", joined, re.MULTILINE)
    return shlex.split(line)[1:]


@pytest.fixture
def model_and_records(in_tmp: Path) -> Path:
    """A working directory with the README's model file, and squares of their label's brightness."""
    code = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[0]
    (in_tmp / "digits.py").write_text(code)
    schema = Schema.from_list(
        [
            {"name": "image", "shape": [8, 8], "dtype": "uint8"},
            {"name": "label", "shape": [1], "dtype": "int64"},
        ]
    )
    for split, rows in (("train", 80), ("test", 20)):
        with RecordWriter(in_tmp / "demo" / "records" / split, schema) as writer:
            for row in range(rows):
                writer.append((np.full((8, 8), 25 * (row % 10), np.uint8), np.array([row % 10])))
    return in_tmp


def test_the_commands_and_lines_do_what_is_said(
    model_and_records: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = command("train")
    words[words.index("--epochs") + 1] = "4"  # ten steps
    words[words.index("--save-checkpoints-steps") + 1] = "4"
    assert main(words) == 0
    shown = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"eval step 4  .*accuracy [\d.]+.*", shown[0])
    assert re.fullmatch(r"Goodput (\d+|under 1)%: .* in steps; .*\.", shown[-1])

    assert main(command("status demo/watched$")) == 0
    status = capfd.readouterr().out
    assert status.startswith("demo/watched: done (input ended)")
    for row in ("step", "loss", "learning rate", "checkpoint", "evaluation", "goodput", "process"):
        assert re.search(rf"^ {row} +\S", status, re.MULTILINE), row
    assert main(command("status .*json")) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["standing"], found["step"], found["last_step"]) == ("done", 10, 10)
    assert found["evaluations"][""]["step"] == 10

    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(code, "observability.md", "exec"), {})
    printed = capfd.readouterr().out.splitlines()
    assert printed[0] == "done input ended 10 True"
    assert printed[1] == "True"
    assert {"checkpoint", "data", "evaluation", "setup", "step"} <= set(
        json.loads(printed[2].replace("'", '"'))
    )
    assert printed[3] == "[1]"

    watched = model_and_records / "demo" / "watched"
    events = EventAccumulator(str(watched)).Reload()
    assert {"loss", "learning_rate", "goodput/step"} <= set(events.Tags()["scalars"])
    assert any(node.op == "cross_entropy" for node in events.Graph().node)
    assert {"values", "_hparams_/session_start_info"} <= set(events.Tags()["tensors"])
    assert (watched / "eval").is_dir()


def test_what_status_may_say_is_all_on_the_page() -> None:
    from typing import get_args

    from dovetail.run.status import FINE, Standing

    rows = dict(re.findall(r"^\| (\w+|\(why\)) \| .* \| (\d) \|$", PAGE, re.MULTILINE))
    rows["unknown"] = rows.pop("(why)")
    assert rows == {name: "0" if name in FINE else "1" for name in get_args(Standing)}

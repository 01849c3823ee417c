"""The modeler's example, by the commands that its first lines show."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np

import dovetail
from dovetail.cli.main import main
from dovetail.definition.source import execute

ROOT = Path(__file__).parents[2]
FILE = ROOT / "examples" / "modeler" / "digits.py"


def test_its_commands_reach_95_percent_on_digits_it_has_not_seen(in_tmp: Path):
    said = (execute(FILE).__doc__ or "").replace("\\\n", "")
    draw, *commands = re.findall(r"^    (.*)$", said, re.M)
    script, folder = draw.split()[1:]
    execute(ROOT / script).write_digits(Path(folder))
    assert len(commands) == 4
    for command in commands:
        words = shlex.split(command.replace("examples/", f"{ROOT}/examples/"))[1:]
        if words[0] in ("train", "evaluate"):
            words += ["--device", "cpu"]
        assert main(words) == 0, command
    config = dovetail.RunConfig(device="cpu", progress=False)
    estimator = dovetail.Estimator(FILE, "demo/modeler", config)
    measured = estimator.evaluate("demo/m_test")
    assert measured["accuracy"] >= 0.95, measured
    # What the metric says is what is counted by hand.
    predicted = [int(row["classes"]) for row in estimator.predict("demo/m_test")]
    labels = np.ravel(dovetail.Records("demo/m_test").gather(range(360))["label"])
    assert np.mean(labels == predicted) == measured["accuracy"]

"""What docs/data.md shows is run here, on files of the names that it uses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dovetail.cli.main import main
from dovetail.data.records import Records

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.fixture
def files(in_tmp: Path) -> Path:
    (in_tmp / "flowers").mkdir()
    (in_tmp / "flowers/a.csv").write_text("size,kind\n1.5,rose\n2,tulip\n")
    (in_tmp / "flowers/b.csv").write_text("size,kind\n3,rose\n")
    (in_tmp / "more").mkdir()
    (in_tmp / "more/c.csv").write_text("size,kind\n4,lily\n")
    for name in ("rose", "tulip"):
        (in_tmp / "mixed" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((4, 4, 3), number, np.uint8)
            Image.fromarray(pixels).save(in_tmp / "mixed" / name / f"{number}.png")
    (in_tmp / "mixed/rose/1.png").write_bytes(b"no image")
    return in_tmp


def test_every_command_and_the_lines_of_python_run(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = re.findall(r"^    dovetail (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 9
    for command in commands:
        words, _, target = command.partition(" > ")
        code = main(shlex.split(words))
        printed = capsys.readouterr()
        assert code == 0, printed.err
        if target:
            Path(target).write_text(printed.out)
    assert sum(len(Records(f"parts/flowers/{name}")) for name in ("train", "test")) == 4
    assert Path("records/mixed/failed.jsonl").read_text().count("\n") == 1
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(code, "data.md", "exec"), {})
    assert "['rose', 'tulip']" in capsys.readouterr().out

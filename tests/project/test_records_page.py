"""What docs/records.md shows is run here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.data.feed import RecordFeed
from dovetail.data.records import Records

PAGE = (Path(__file__).parents[2] / "docs" / "records.md").read_text(encoding="utf-8")


def test_the_lines_of_python_run_and_do_what_is_said(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(code, "records.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "book 1 Lengths(least=0, most=6, mean=2.95)"
    assert printed[1] == "{'train': 92, 'valid': 10}"
    assert printed[2].count("page 0") == 2
    assert printed[3] == "102"
    assert len(names["books"]) == 100
    assert sum(map(len, names["parts"].values())) == len(Records("records/books")) == 102
    fed = next(iter(RecordFeed(names["mixed"], 4, input_fn=names["input_fn"], prefetch=0)))
    lengths = [
        len(row) for row in names["mixed"].gather(names["mixed"].examples(0, 0, 4))["tokens"]
    ]
    assert fed.features["tokens"].shape == (4, 8)
    np.testing.assert_array_equal(fed.features["mask"].sum(axis=1), lengths)

"""What docs/readers.md says of readers is held against them."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from dovetail.cli.main import app
from dovetail.data.readers.by_name import READERS
from dovetail.data.readers.crc32c import masked_crc32c
from dovetail.data.records import Records

PAGE = (Path(__file__).parents[2] / "docs/readers.md").read_text(encoding="utf-8")
ROWS = {
    cells[1].strip(" `"): re.findall(r"`(\w+)`", cells[4])
    for cells in (line.split("|") for line in PAGE.splitlines() if line.startswith("| `"))
}


def test_the_table_names_every_reader() -> None:
    assert sorted(ROWS) == sorted(READERS)


@pytest.mark.parametrize("name", READERS)
def test_the_table_names_every_option(name: str) -> None:
    module, kind = READERS[name]
    options = set(inspect.signature(getattr(importlib.import_module(module), kind)).parameters)
    named = [option for one in ROWS[name] for option in ROWS.get(one, [one])]
    assert set(named) == options - {"schema"}


def test_the_example_in_python_runs(in_tmp: Path) -> None:
    x = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    np.savez("mnist.npz", x_train=x, y_train=np.arange(3), x_test=x[:1])
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    namespace: dict[str, object] = {}
    exec(compile(code, "readers.md", "exec"), namespace)
    records = namespace["records"]
    assert isinstance(records, Records)
    assert np.array_equal(records.gather(np.arange(3))["image"], x)


def test_the_commands_run(in_tmp: Path) -> None:
    for folder in ("mnist", "pets", "shards"):
        Path(folder).mkdir()
    images = struct.pack(">HBB3I", 0, 8, 3, 2, 3, 3) + bytes(18)
    Path("mnist/train-images-idx3-ubyte").write_bytes(images)
    Path("mnist/train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 2) + b"\7\2")
    Image.new("RGB", (4, 4)).save("pets/rex.jpg")
    Path("pets.csv").write_text("file,kind\npets/rex.jpg,dog\n")
    # One example, of one feature "a" with the int64 list [1, 2, 3].
    message = bytes.fromhex("0a0e0a0c0a016112071a050a03010203")
    length = struct.pack("<Q", len(message))
    pieces = [length, struct.pack("<I", masked_crc32c(length)), message]
    pieces.append(struct.pack("<I", masked_crc32c(message)))
    Path("shards/a.tfrecord").write_bytes(b"".join(pieces))
    (commands,) = re.findall(r"^```\n(.*?)^```", PAGE, re.M | re.S)
    results = [
        CliRunner().invoke(app, [*shlex.split(line)[1:], "--workers", "1"])
        for line in commands.splitlines()
    ]
    assert [result.exit_code for result in results] == [0, 0, 0], [r.output for r in results]
    assert Records("train").gather(np.arange(2))["label"].tolist() == [7, 2]
    assert Records("dogs").metadata == {"classes": ["dog"]}
    assert yaml.safe_load(results[2].stdout) == [{"name": "a", "shape": [3], "dtype": "int64"}]

"""What docs/modeler.md shows is run here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from typer.testing import CliRunner

import dovetail
from dovetail.cli.main import app

PAGE = (Path(__file__).parents[2] / "docs" / "modeler.md").read_text(encoding="utf-8")
SNIPPET, PIECES, FLOWERS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
(COMMANDS,) = re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)


def executed(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(text, "modeler.md", "exec"), names)
    return names


def test_the_snippet_s_modeler_predicts() -> None:
    program = dovetail.build(executed(SNIPPET)["modeler"], device="cpu")
    predicted = program.predict_step(torch.zeros(2, 32, 32, 3))["predictions"]
    assert {name: tuple(value.shape) for name, value in predicted.items()} == {
        "classes": (2,),
        "probabilities": (2, 10),
    }


def test_pieces_given_as_functions_train(in_tmp: Path) -> None:
    x = torch.linspace(-1, 1, 32).reshape(-1, 1)
    config = dovetail.RunConfig("run", device="cpu", progress=False)
    estimator = dovetail.Estimator(
        executed(PIECES)["modeler"], config=config, params={"learning_rate": 0.1}
    )
    estimator.train(lambda: [(x, 3 * x)] * 100)
    assert estimator.evaluate(lambda: [(x, 3 * x)])["mae"] < 0.1


def test_the_commands_transfer_what_was_learned(in_tmp: Path) -> None:
    Path("flowers.py").write_text(FLOWERS)
    generator = np.random.default_rng(0)
    for name, colour in (("crocus", 200), ("daisy", 120), ("rose", 40)):
        folder = Path("images") / name
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(colour - 30, colour + 30, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    for command in COMMANDS.replace("\\\n", "").splitlines():
        words = shlex.split(command)[1:]
        if words[0] in ("train", "evaluate"):
            words += ["--device", "cpu"]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (command, result.output)
    first, second = (dovetail.Estimator("flowers.py", folder) for folder in ("first", "second"))
    names = [n for n in first.get_variable_names() if n.endswith(("weight", "bias"))]
    for name in names:
        same = np.array_equal(first.get_variable_value(name), second.get_variable_value(name))
        assert same != name.startswith("logits"), name


def test_the_page_names_every_net() -> None:
    nets = {path.stem for path in Path(dovetail.__file__).with_name("nets").glob("*.py")}
    for name in nets - {"__init__", "net", "residual"}:
        short = re.sub(r"^resnet", "", name)
        assert re.search(rf"\b{name}\b|\b{short}\b", PAGE), name

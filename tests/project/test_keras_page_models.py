"""The models that docs/keras.md shows are run here, and what its tables say of them is held."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import dovetail
from dovetail.errors import DefinitionError

PAGE = (Path(__file__).parents[2] / "docs" / "keras.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Models and layers")[2].partition("\n## ")[0]
FILE, FUNCTION = re.findall(r"^```python\n(.*?)^```", SECTION, re.M | re.S)


def executed() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(FUNCTION, "keras.md", "exec"), names)
    return names


def test_the_model_file_trains_under_the_names_of_the_page(tmp_path: Path) -> None:
    path = tmp_path / "mnist.py"
    path.write_text(FILE)
    program = dovetail.build(path, device="cpu", params={"optimizer": {"lr": 0.01}})
    images, labels = torch.rand(16, 28, 28), torch.arange(16) % 10
    losses = [float(program.train_step({"image": images}, labels)["loss"]) for _ in range(5)]
    assert losses[-1] < losses[0]
    for name in re.findall(r"`(model\.\w+\.\w+)`", SECTION):
        assert name in program.state()
    parameters = {name for name, _ in program.network.named_parameters()}
    assert "model.batch_normalization.moving_mean" not in parameters


def test_the_model_fn_trains() -> None:
    program = dovetail.build(executed()["model_fn"], device="cpu")
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    losses = [float(program.train_step(x, x[:, :1])["loss"]) for _ in range(50)]
    assert losses[-1] < losses[0]
    assert {"encoder.dense.kernel", "dense.kernel"} <= {
        re.sub(r"_\d+", "", name) for name in program.state()
    }


def test_the_first_program_has_the_model_and_the_second_a_copy() -> None:
    names = executed()
    x = torch.randn(8, 4)
    first, second = (dovetail.build(names["model_fn"], device="cpu") for _ in range(2))
    for program in (first, second):
        program.train_step(x, x[:, :1])
    first.train_step(x, x[:, :1])
    (kernel,) = (v for n, v in first.state().items() if re.fullmatch(r"encoder\..*kernel", n))
    assert torch.equal(names["encoder"].weights[0].value, kernel)
    assert not any(torch.equal(kernel, value) for value in second.state().values())


@pytest.mark.parametrize(
    "body", ["layers.layer(keras.layers.Dense(1))(features)", "keras.layers.Dense(1)(features)"]
)
def test_what_the_page_says_is_refused_is(body: str) -> None:
    names = executed()
    text = FUNCTION.replace('layers.layer(encoder, name="encoder")(features)', body)
    exec(compile(text, "keras.md", "exec"), names)
    program = dovetail.build(names["model_fn"], device="cpu")
    with pytest.raises(DefinitionError, match=r"layers\.layer\("):
        program.train_step(torch.ones(8, 1), torch.ones(8, 1))

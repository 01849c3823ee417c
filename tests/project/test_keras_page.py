"""What docs/keras.md says of optimizers and schedules is held against them."""

import re
from pathlib import Path

import keras
import pytest

from dovetail.definition.keras.optimizers import describe
from dovetail.definition.optimizers import as_description, schedules
from dovetail.errors import DefinitionError

PAGE = (Path(__file__).parents[2] / "docs" / "keras.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## Optimizers") :]


def rows(heading):
    """The rows of the table whose first column has this heading, as lists of cells."""
    table = SECTION[re.search(rf"^\|\s*{re.escape(heading)}\s*\|", SECTION, re.M).start() :]
    lines = table.split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def named(cell):
    return re.findall(r"`(\w+)`", cell)


def test_the_example_of_an_optimizer_is_translated():
    (code,) = re.findall(r"```python\n(.*?)```", SECTION.split("\n## ")[0], re.S)
    names = {}
    exec(code, names)
    description = as_description(names["optimizer"]())
    assert description.learning_rate == schedules.Cosine(0.1, 1000)
    assert (description.weight_decay, description.clip_norm) == (0.01, 1.0)


@pytest.mark.parametrize(
    ("name", "cell"), [(n, row[1]) for row in rows("`keras.optimizers`") for n in named(row[0])]
)
def test_each_optimizer_becomes_what_its_row_says(name, cell):
    found = {type(describe(getattr(keras.optimizers, name)(**a))).__name__ for a in ARGUMENTS}
    assert found <= set(named(cell))
    assert name in ("AdamW",) or f"Keras{name}" in found


ARGUMENTS = ({}, {"weight_decay": 0.1}, {"clipnorm": 1.0}, {"clipvalue": 1.0})


@pytest.mark.parametrize("name", ["ScheduleFreeAdamW"])
def test_each_optimizer_that_is_refused_has_a_row(name):
    assert f"`{name}`" in [cells[0] for cells in rows("refused")]
    with pytest.raises(DefinitionError, match="AdamW"):
        describe(getattr(keras.optimizers, name)())


def test_every_optimizer_of_keras_is_on_the_page():
    exported = {
        name
        for name, value in vars(keras.optimizers).items()
        if isinstance(value, type) and issubclass(value, keras.optimizers.Optimizer)
    }
    assert exported - {"Optimizer"} <= set(named(SECTION))
    own = {name for name in vars(keras.optimizers.schedules) if name[0].isupper()}
    assert own <= set(named(SECTION))

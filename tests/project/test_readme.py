"""What README.md shows is run here, on images of the shape that it names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODEL_FILE, FROM_PYTHON, MODEL_FN = re.findall(
    r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL
)


@pytest.fixture
def model_file(in_tmp: Path) -> Path:
    """The README's digits.py in an empty working directory."""
    path = in_tmp / "digits.py"
    path.write_text(MODEL_FILE)
    return path


@pytest.fixture
def records(model_file: Path) -> Path:
    """Records in the folders that the README names: squares whose brightness is their label."""
    from dovetail.data.prepare import prepare
    from dovetail.data.readers.image_folder import ImageFolder
    from dovetail.data.schema import Schema

    schema = Schema.from_list(
        [
            {"name": "image", "shape": [8, 8], "dtype": "uint8"},
            {"name": "label", "shape": [1], "dtype": "int64"},
        ]
    )
    folder = model_file.parent / "demo"
    for split, each in (("train", 8), ("test", 2)):
        for label in range(10):
            images = folder / "digits" / split / str(label)
            images.mkdir(parents=True)
            for number in range(each):
                pixels = np.full((8, 8), 25 * label + number, np.uint8)
                Image.fromarray(pixels).save(images / f"{number}.png")
        pattern = f"demo/digits/{split}/*/*.png"
        prepare([pattern], folder / "records" / split, schema, ImageFolder(schema), workers=1)
    shutil.rmtree(folder / "digits")
    return folder / "records"


def test_the_model_file_loads(model_file: Path) -> None:
    import dovetail

    definition = dovetail.load(model_file)
    assert definition.params.to_dict() == {"optimizer": {"lr": 0.001}}
    assert definition.schema is not None
    assert list(definition.schema) == ["image", "label"]


def test_the_lines_from_python_train_evaluate_and_predict(
    records: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert records.is_dir()
    usage = FROM_PYTHON.replace("max_steps=900", "max_steps=3")
    assert usage != FROM_PYTHON
    exec(compile(usage, "README.md", "exec"), {})
    output = capfd.readouterr().out
    assert "'accuracy'" in output
    assert "'global_step': 3" in output
    classes = [int(line) for line in output.splitlines() if line.strip().isdecimal()]
    assert len(classes) == 20


def test_the_model_fn_trains_on_the_same_records(records: Path) -> None:
    import dovetail

    namespace: dict[str, object] = {}
    exec(compile(MODEL_FN, "README.md", "exec"), namespace)
    estimator = dovetail.Estimator(
        namespace["model_fn"], model_dir="model", params={"learning_rate": 0.01}
    )
    estimator.train(str(records / "train"), max_steps=3)
    assert estimator.evaluate(str(records / "test"))["global_step"] == 3


def test_every_link_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
            if not target.startswith(("http:", "https:")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in (README, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        named = re.findall(r"(?:`|^ {4})make ([a-z-]+)", page, re.MULTILINE)
        assert named
        assert set(named) <= targets

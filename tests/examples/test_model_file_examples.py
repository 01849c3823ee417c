"""The MNIST and CIFAR-10 model files, on small data sets in the real ones' formats."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

import dovetail
from dovetail.data.prepare import prepare
from dovetail.data.records import Records
from dovetail.definition.definition import load
from dovetail.run.config import RunConfig
from dovetail.run.estimator import Estimator

FOLDER = Path(__file__).parents[2] / "examples" / "model_file"
MNIST = ["mnist_functional_api.py", "mnist_subclass.py", "mnist_torch.py"]
CIFAR10 = ["cifar10_functional_api.py", "cifar10_subclass.py", "cifar10_torch.py"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data sets in the formats of MNIST and CIFAR-10."""
    folder = tmp_path_factory.mktemp("files")
    made = runpy.run_path(str(FOLDER / "make_small_files.py"))
    made["write_mnist"](folder / "mnist")
    made["write_cifar10"](folder / "cifar10")
    return folder


@pytest.fixture(scope="module")
def records(files: Path) -> dict[str, Path]:
    """Their test sets as records, prepared by the model files."""
    made = {}
    for name, pattern in (("mnist", "t10k-images*"), ("cifar10", "test_batch.bin")):
        definition = load(FOLDER / f"{name}_torch.py")
        assert definition.custom_data_reader is not None
        reader = definition.custom_data_reader()
        prepare(files / name / pattern, files / f"{name}.records", definition.schema, reader)
        made[name] = files / f"{name}.records"
    return made


@pytest.mark.parametrize("file", MNIST + CIFAR10)
def test_an_example_trains_is_evaluated_and_predicts(
    file: str, records: dict[str, Path], tmp_path: Path
) -> None:
    data = records[file.partition("_")[0]]
    estimator = Estimator(FOLDER / file, config=RunConfig(str(tmp_path), progress=False))
    estimator.train_run(data, max_steps=2, limit=32, epochs=None)
    measured = estimator.evaluate(data, steps=1)
    assert set(measured) == {"accuracy", "loss", "global_step"}
    # Counted by hand, of predictions that no batch's statistics and no dropout disturb.
    predictions = itertools.islice(estimator.predict(data), 32)
    predicted = [int(np.argmax(row["output"])) for row in predictions]
    labels = np.asarray(Records(data).gather(range(32))["label"]).ravel()
    assert np.mean(labels == predicted) == pytest.approx(measured["accuracy"])


@pytest.mark.parametrize("file", MNIST + CIFAR10)
def test_an_example_learns_what_it_is_shown(file: str, records: dict[str, Path]) -> None:
    rows = Records(records[file.partition("_")[0]]).gather(range(16))
    batch = {"image": torch.as_tensor(rows["image"])}, torch.as_tensor(rows["label"])
    program = dovetail.build(FOLDER / file, device="cpu", params={"optimizer": {"lr": 0.01}})
    losses = [float(program.train_step(*batch)["loss"]) for _ in range(6)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_functional_and_the_subclassed_model_are_one(records: dict[str, Path]) -> None:
    rows = Records(records["mnist"]).gather(range(8))
    batch = {"image": torch.as_tensor(rows["image"])}, torch.as_tensor(rows["label"])
    losses = []
    for file in MNIST[:2]:
        program = dovetail.build(FOLDER / file, device="cpu")
        losses.append([float(program.train_step(*batch)["loss"]) for _ in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
